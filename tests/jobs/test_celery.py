"""The engine celery, without a server: what is sent, what is sent again, and what is refused."""

import inspect
import logging
import sys

import pytest
from celery.worker.consumer import connection, consumer
from kombu.exceptions import ContentDisallowed

from imsgate import errors
from imsgate.jobs import celery as engines
from imsgate.jobs.engine import Engine
from imsgate.jobs.settings import JobSettings
from imsgate.jobs.work import Work
from imsgate.model import JobState
from imsgate.registry.memory import MemoryRegistry
from imsgate.services import make_engine
from imsgate.telemetry.dependencies import Dependency
from imsgate.testing.records import after, job
from tests.functional.gateway import HOST, free_port


def settled(url="memory://", **changed):
    return JobSettings(engine="celery", broker_url=url, **changed)


class Function(Work):
    """A function as work."""

    def __init__(self, function):
        self._function = function

    def run(self, job, context):
        self._function(job, context)


@pytest.fixture
def registry():
    return MemoryRegistry()


@pytest.fixture
def make(registry, request):
    """An engine with a queue of its own."""

    def make(url="memory://", work=lambda job, context: None, **changed):
        queue = f"queue of {request.node.name}"
        made = settled(url, **{"queue": queue, **changed})
        return make_engine(registry, {"test": Function(work)}, made)

    return make


def start(made):
    return made.start("test", project=None, image_id=None, arguments={})


def test_a_job_is_a_message(make, registry):
    made = make()
    assert made._queued() == 0
    assert start(made).state == JobState.INIT
    start(made)
    assert made._queued() == 2


def test_a_broker_is_tried():
    assert engines.CeleryEngine.check_broker(settled())
    with pytest.raises(errors.Unavailable) as caught:
        engines.CeleryEngine.check_broker(settled(f"redis://:hush@{HOST}:{free_port()}/0"))
    assert caught.value.__cause__
    assert not Engine.check_broker(JobSettings())


def test_serving_processes_do_no_jobs(make):
    made = make()
    made.start_threads(4)
    assert made._threads == []
    made.stop()


def test_a_message_that_comes_twice_does_nothing(make, registry):
    done = []
    made = make(work=lambda job, context: done.append(job.id))
    first, second = start(made), start(made)
    for job_id in (second.id, second.id, "nothing", first.id, second.id):
        made._delivered(job_id)
    assert done == [second.id, first.id]
    assert {one.state for one in registry.jobs(None)} == {JobState.SUCCESS}


def test_a_message_that_would_run_code_is_not_decoded(make):
    """Whoever may send to the broker decides when a job is done, and nothing else."""
    app, refused = make()._app, []
    app.send_task(engines.TASK, ("job",), serializer="pickle")
    with app.connection_for_read() as opened:
        tasks = app.amqp.TaskConsumer(
            opened.default_channel, on_decode_error=lambda message, error: refused.append(error)
        )
        tasks.register_callback(lambda *_: pytest.fail("it was decoded"))
        with tasks:
            opened.drain_events(timeout=60)
    assert [type(error) for error in refused] == [ContentDisallowed]


def test_what_was_lost_is_sent_again_and_no_more(make, registry):
    made = make()
    for number in range(3):
        registry.add_job(job(created_at=after(number)))
    registry.add_job(job(kind="other"))
    assert made.resend() == 3
    assert made._queued() == 3
    assert made.resend() == 0
    start(made)
    assert made.resend() == 0
    registry.add_job(job())
    assert made.resend() == 5


def test_a_dead_workers_job_is_sent_again_once_its_lease_has_run_out(make, registry):
    made = make()
    registry.add_job(job())
    registry.claim_job(["test"], 0.0, 1e12)
    assert made.resend() == 0
    registry.add_job(job(created_at=after(1)))
    taken = registry.claim_job(["test"], 0.0, 5.0)
    assert taken is not None
    assert made.resend() == 1


def test_a_worker_that_stops_hands_its_jobs_back(make, registry):
    """They are not given back to it, but sent when it no longer listens."""
    made = make(work=lambda job, context: made._shutting_down() or context.check())
    first, second = start(made), start(made)
    made._delivered(first.id)
    found = registry.get_job(first.id)
    assert (found.state, found.lease) == (JobState.RUNNING, 0.0)
    made._delivered(second.id)
    assert registry.get_job(second.id).state == JobState.INIT
    assert made._handed_back == [first.id, second.id]
    assert made._queued() == 2


@pytest.mark.parametrize("scheme", ["amqp", "redis"])
def test_a_broker_that_is_away_does_not_fail_the_request(
    make, registry, caplog, monkeypatch, scheme
):
    caplog.set_level("INFO", "imsgate")
    monkeypatch.setattr(engines, "BROKER", Dependency("The broker", engines.LOG))
    made = make(f"{scheme}://user:hush@{HOST}:{free_port()}/0")
    started = start(made)
    assert registry.get_job(started.id).state == JobState.INIT
    started = start(made)
    (error,) = [line.getMessage() for line in caplog.records if line.levelname == "ERROR"]
    assert error.startswith("The broker fails: ")
    assert caplog.text.count("waits until the broker is back") == 2
    assert "hush" not in caplog.text
    assert made._queued() == 0


def test_a_database_that_is_away_costs_the_message_alone(make, registry, monkeypatch, caplog):
    made = make()
    started = start(made)

    def away(*_):
        raise errors.Unavailable(what="The database")

    with monkeypatch.context() as patched:
        patched.setattr(registry, "claim_job", away)
        made._delivered(started.id)
    assert caplog.text == ""
    assert registry.get_job(started.id).state == JobState.INIT
    made._delivered(started.id)
    assert registry.get_job(started.id).state == JobState.SUCCESS


@pytest.mark.parametrize(
    "url", [None, "", "nosuch://host", "redis://:hu/sh@host/0", "filesystem-that-is-none://"]
)
def test_a_broker_that_cannot_be_meant_is_refused(make, url):
    with pytest.raises(errors.BadConfig) as caught:
        make(url)
    assert caught.value.key == "[jobs] broker_url"
    assert "hu" not in str(caught.value)


def test_an_engine_that_is_not_there_is_refused(registry):
    with pytest.raises(errors.BadConfig) as caught:
        make_engine(registry, {}, JobSettings(engine="steam"))
    assert caught.value.key == "[jobs] engine"


def test_without_the_extra_it_is_refused(registry, monkeypatch):
    monkeypatch.delitem(sys.modules, "imsgate.jobs.celery", raising=False)
    monkeypatch.setitem(sys.modules, "celery", None)
    with pytest.raises(errors.BadConfig) as caught:
        make_engine(registry, {}, settled())
    assert caught.value.key == "[jobs] engine"
    assert "imsgate[celery]" in str(caught.value)


def test_the_local_one_is_the_default(registry):
    made = make_engine(registry, {}, JobSettings())
    assert type(made) is Engine


def test_celerys_own_lines_about_the_broker(caplog, monkeypatch):
    """It logs an error every few seconds. Its texts are private; see imsgate/jobs/celery.py."""
    caplog.set_level("INFO", "imsgate")
    monkeypatch.setattr(engines, "BROKER", Dependency("The broker", engines.LOG))

    def record(text, *arguments):
        return logging.LogRecord("celery", logging.ERROR, "", 0, text, arguments, None)

    lost = record(consumer.CONNECTION_ERROR, "amqp://user:**@host", "refused", "Trying again")
    found = record("Connected to %s", "amqp://user:**@host")
    assert [engines._is_no_outage(each) for each in (lost, lost, found)] == [False, False, True]
    assert engines._notice_recovery(found)
    assert [each.getMessage() for each in caplog.records] == [
        "The broker fails: refused",
        "The broker works again after 0 s",
    ]
    assert "info('Connected to %s'" in inspect.getsource(connection)
