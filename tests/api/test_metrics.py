"""``GET /metrics``: what this host has counted, and what is in progress."""

import pytest
from prometheus_client.parser import text_string_to_metric_families as parse

from imsgate import metrics
from imsgate.errors import Unavailable
from imsgate.metrics import exposition, values
from imsgate.model import JobState, Status
from imsgate.registry.memory import MemoryRegistry
from imsgate.testing.gateways import gateway, memory_store
from imsgate.testing.records import image, job, upload
from tests.api.people import PEOPLE, Person, reason
from tests.api.stack import who


@pytest.fixture
def directory(tmp_path):
    values.end()
    yield str(tmp_path / "metrics")
    values.end()


@pytest.fixture
def ask(directory):
    """The samples that an administrator gets: values by name and labels."""

    def read(registry=None, **options):
        gate = gateway(registry=registry, further={"metrics": {"directory": directory}}, **options)
        answer = Person(gate.app, PEOPLE["admin"]).get("/metrics")
        assert (answer.status_int, answer.headers["Content-Type"]) == (200, exposition.CONTENT_TYPE)
        return {
            (sample.name.removeprefix("imsgate_"), *sample.labels.values()): sample.value
            for family in parse(answer.text)
            for sample in family.samples
        }

    return read


def test_what_was_counted(ask, directory):
    values.begin(directory)
    metrics.REQUESTS.add("/v2/images", "GET", "200", amount=2)
    metrics.THREADS_IN_USE.add("requests")
    for seconds in (0.001, 0.3, 3600.0):
        metrics.PHASE_SECONDS.observe("commit", seconds=seconds)
    samples = ask()
    assert samples["requests_total", "GET", "/v2/images", "200"] == 2
    assert samples["threads_in_use", "requests"] == 1
    assert samples["processes",] == 1
    buckets = {
        key[1]: number for key, number in samples.items() if key[0] == "phase_seconds_bucket"
    }
    assert buckets == {
        "0.001": 1, "0.005": 1, "0.025": 1, "0.1": 1, "0.5": 2, "2.5": 2, "10.0": 2, "60.0": 2,
        "600.0": 2, "+Inf": 3,
    }  # fmt: skip
    assert samples["phase_seconds_count", "commit"] == 3
    assert samples["phase_seconds_sum", "commit"] == pytest.approx(3600.301)


def test_what_processes_counted_that_have_ended(ask, directory):
    for _ in range(2):
        values.begin(directory)
        metrics.REQUESTS.add("/v2/images", "GET", "200")
        metrics.THREADS_IN_USE.add("requests")
        values.end()
    samples = ask()
    assert samples["requests_total", "GET", "/v2/images", "200"] == 2
    assert ("threads_in_use", "requests") not in samples
    assert samples["processes",] == 0


def test_what_is_in_progress(ask):
    registry = MemoryRegistry()
    saving = image(status=Status.SAVING, upload_key="attempt-1", upload_reserved=10)
    registry.add(saving)
    registry.add_upload(upload(saving.id))
    for state in JobState:
        registry.add_job(job(state=state))
    samples = ask(registry)
    assert samples["database_up",] == 1
    assert samples["images", "saving"] == 1
    assert samples["images", "importing"] == 0
    assert samples["jobs", "test", "INIT"] == samples["jobs", "test", "RUNNING"] == 1
    assert samples["oldest_waiting_job_seconds",] > 1e8  # it is of 2020
    assert samples["suspended_uploads",] == 1
    assert samples["reserved_bytes",] == 10


def test_an_idle_host(ask):
    samples = ask()
    assert samples["oldest_waiting_job_seconds",] == 0
    assert samples["processes",] == 0
    assert {samples["images", status] for status in ("saving", "killed")} == {0}


def test_a_database_that_is_away(ask):
    class Away(MemoryRegistry):
        def activity(self):
            raise Unavailable(what="The database")

    samples = ask(Away())
    assert samples["database_up",] == 0
    assert not any(name == "jobs" for name, *_ in samples)
    assert samples["store_started", "fast"] == 1


def test_free_space_of_stores(ask):
    samples = ask(stores=[memory_store("fast", capacity=1000), memory_store("slow")])
    assert samples["store_free_bytes", "fast"] == 1000
    assert ("store_free_bytes", "slow") not in samples
    assert samples["store_started", "slow"] == 1


@pytest.mark.parametrize(
    ("person", "status"),
    [(None, 401), ("owner", 403), ("reader", 403), ("admin", 200), ("service", 200)],
)
def test_who_may_ask(directory, person, status):
    known = {"reader": who(roles="reader"), "service": who("services", "service"), **PEOPLE}
    gate = gateway(further={"metrics": {"directory": directory}})
    answer = Person(gate.app, known.get(person)).get("/metrics")
    assert answer.status_int == status
    if status == 403:
        assert reason(answer) == (403, "forbidden")


def test_a_directory_that_cannot_be_read(directory, tmp_path, caplog):
    (tmp_path / "metrics").touch()
    gate = gateway(further={"metrics": {"directory": directory}})
    answer = Person(gate.app, PEOPLE["admin"]).get("/metrics")
    assert reason(answer) == (503, "unavailable")
    assert directory in caplog.text
