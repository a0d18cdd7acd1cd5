"""The brokers of notifications and of jobs: whether they accept a connection."""

from collections.abc import Callable, Iterator

from imsgate import errors, services
from imsgate.doctor.diagnosis import Diagnosis, Severity
from imsgate.doctor.installation import Installation
from imsgate.jobs.settings import JobSettings
from imsgate.notifications import notifications
from imsgate.notifications.target import Undelivered

_ADVICE = (
    "Start the broker, and check the host, user, password and virtual host of {key}, which may "
    "have to be created in RabbitMQ first."
)


def check(installation: Installation) -> Iterator[Diagnosis]:
    """One connection to each broker that is configured."""
    found: list[Diagnosis] = []
    if installation.has_records:
        found = [*_notifications(installation), *_jobs(installation)]
    if found:
        yield from found
    else:
        message = "No broker is configured."
        yield Diagnosis(check="broker", severity=Severity.SKIPPED, message=message)


def _notifications(installation: Installation) -> Iterator[Diagnosis]:
    bus = notifications.import_bus(installation.conf)
    for target in bus.load(installation.conf.native) if bus else ():
        key = "[oslo_messaging_notifications] transport_url"
        finding = _connect("notifications", target.check_broker, key)
        if finding:
            yield finding


def _jobs(installation: Installation) -> Iterator[Diagnosis]:
    settings = installation.conf.read(JobSettings)
    driver = services.engine_driver(settings)
    finding = _connect("jobs", lambda: driver.check_broker(settings), "[jobs] broker_url")
    if finding:
        yield finding


def _connect(name: str, connect: Callable[[], bool], key: str) -> Diagnosis | None:
    """None if there is no broker to connect to."""
    try:
        if not connect():
            return None
    except (Undelivered, errors.Unavailable) as error:
        problem = error.__cause__ if isinstance(error, errors.Unavailable) else error
        return Diagnosis(
            check=f"broker.{name}",
            severity=Severity.ERROR,
            message=f"The broker cannot be used: {problem}.",
            advice=_ADVICE.format(key=key),
        )
    message = "The broker accepts a connection."
    return Diagnosis(check=f"broker.{name}", severity=Severity.OK, message=message)
