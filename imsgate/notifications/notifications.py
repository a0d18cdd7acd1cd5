"""The notifications of a process: which events are recorded, and the threads that send them."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from imsgate import errors
from imsgate.config import Config
from imsgate.errors import BadConfig
from imsgate.model import Identity, Image
from imsgate.notifications import webhooks
from imsgate.notifications.events import Events
from imsgate.notifications.sender import Sender
from imsgate.notifications.settings import EventSettings, OutboxSettings, WebhookSettings
from imsgate.notifications.target import Target
from imsgate.registry.base import Registry

LOG = logging.getLogger(__name__)

#: The section of oslo.messaging that turns notifications on.
_BUS_GROUP = "oslo_messaging_notifications"


def load(conf: Config, registry: Registry) -> "Notifications":
    """What is configured; by default nothing. Raises BadConfig, naming the option."""
    targets = [*_load_bus(conf), *webhooks.load(conf.read(WebhookSettings))]
    settings = conf.read(EventSettings)
    events = Events(
        targets=tuple(target.name for target in targets),
        publisher_id=settings.default_publisher_id,
        disabled=frozenset(settings.disabled_notifications),
    )
    return Notifications(registry, targets, events, conf.read(OutboxSettings))


def none(registry: Registry) -> "Notifications":
    """No notifications, and no options are read: a service whose records are elsewhere does not
    know what happens to its images."""
    events = Events(targets=(), publisher_id="")
    return Notifications(registry, (), events, OutboxSettings(poll=1, lease=60, keep=0))


def _load_bus(conf: Config) -> list[Target]:
    """Raises BadConfig."""
    bus = import_bus(conf)
    targets: list[Target] = [] if bus is None else bus.load(conf.native)
    return targets


def import_bus(conf: Config) -> Any:
    """The module of the message bus if it is configured, else None. Raises BadConfig."""
    # The import takes a second and memory in each process, and the package is an extra.
    if not conf.mentions(_BUS_GROUP):
        return None
    try:
        from imsgate.notifications import bus  # noqa: PLC0415 - see above
    except ImportError as error:
        problem = f"oslo.messaging cannot be imported: {error}; it needs imsgate[notifications]"
        raise BadConfig(f"[{_BUS_GROUP}] driver", problem) from error
    return bus


class Notifications:
    """Records events in the outbox of a registry, and sends them."""

    def __init__(
        self,
        registry: Registry,
        targets: Sequence[Target],
        events: Events,
        settings: OutboxSettings,
    ) -> None:
        """Without targets, nothing is recorded and nothing is started."""
        self._registry = registry
        self._targets = targets
        self._events = events
        self._settings = settings
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        if targets:
            registry.record_events(events)

    def start_threads(self) -> None:
        """Send what waits, also what other processes have recorded, until ``stop``."""
        for target in self._targets:
            sender = Sender(self._registry, target, self._settings, self._stop)
            thread = threading.Thread(target=sender.run, name="notifications", daemon=True)
            self._threads.append(thread)
            thread.start()

    def stop(self, seconds: float = 10) -> None:
        """End the threads after the notification that each is sending, and leave the others to
        other processes. Waits at most ``seconds`` for each."""
        self._stop.set()
        for thread in self._threads:
            thread.join(seconds)

    def forget(self) -> None:
        """Drop what could not be sent for too long."""
        if not self._targets:
            return
        count = self._registry.forget_messages(time.time() - self._settings.keep)
        if count:
            LOG.error("%d notifications were dropped: they could not be sent in time", count)

    def on_sent(self, who: Identity, image: Image) -> Callable[[int, int], None] | None:
        """What to call when a download has ended, with the bytes sent and those expected.

        None if nobody is to be notified. A download changes no record, so this event is lost if
        the process dies before it is recorded or if the database is unavailable.
        """
        if not self._targets:
            return None

        def record(sent: int, expected: int) -> None:
            try:
                events = list(self._events.sent(who, image, sent, expected))
                if events:
                    self._registry.add_events(events)
            except errors.Error as error:
                LOG.warning("The download of image %s is not notified: %s", image.id, error)

        return record
