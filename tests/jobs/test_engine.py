import collections
import contextlib
import datetime
import threading

import pytest

from imsgate import errors, model
from imsgate.jobs.engine import Engine
from imsgate.jobs.settings import JobSettings
from imsgate.jobs.work import Work
from imsgate.model import JobState
from imsgate.registry.memory import MemoryRegistry
from imsgate.testing.gateways import gateway
from imsgate.testing.records import job
from tests.functional.gateway import PATIENCE, eventually


def test_ended_jobs_can_be_looked_up_for_a_week():
    gate = gateway()
    now = model.now()
    kept, old = (
        job(state=JobState.SUCCESS, end_at=now - datetime.timedelta(days=days)) for days in (6, 8)
    )
    for one in (kept, old, job()):
        gate.registry.add_job(one)
    assert gate.engine.forget() == 1
    assert gate.registry.get_job(kept.id) == kept
    with pytest.raises(errors.NotFound):
        gate.registry.get_job(old.id)


class Nested(Work):
    """While a job runs, another thread of the process looks for one."""

    def __init__(self):
        self.engine = None
        self.running, self.together = [], []

    def run(self, job, context):
        self.running.append(f"{job.kind} {job.project}")
        self.together = max(self.together, list(self.running), key=len)
        self.engine.run_one()
        self.running.pop()


@pytest.mark.parametrize(
    ("threads", "settings", "together"),
    [
        (2, {}, ["import a", "export b"]),
        (4, {}, ["import a", "import a", "import b", "export b"]),
        (4, {"project_threads": 3}, ["import a", "import a", "import a", "export b"]),
        (9, {"kind_threads": 1}, ["import a", "export b"]),
        (1, {}, ["import a", "export b"]),  # were there a second thread
    ],
    ids=str,
)
def test_a_project_and_a_kind_have_their_share_of_the_threads(threads, settings, together):
    registry, work = MemoryRegistry(), Nested()
    kinds = {"import": work, "export": work}
    engine = work.engine = Engine(registry, kinds, JobSettings(**settings))
    engine.share_threads(threads)
    waiting = [("import", "a")] * 3 + [("import", "b"), ("export", "b")]
    for number, (kind, project) in enumerate(waiting):
        created = model.now() + datetime.timedelta(seconds=number)
        registry.add_job(job(kind=kind, project=project, created_at=created))
    assert engine.run_one()
    assert work.together == together
    while engine.run_one():
        pass
    assert {ended.state for ended in registry.jobs(None)} == {JobState.SUCCESS}


def test_shares_of_the_threads_change_at_run_time():
    registry, work, settings = MemoryRegistry(), Nested(), JobSettings(project_threads=1)
    engine = work.engine = Engine(registry, {"import": work}, settings)
    engine.share_threads(4)
    for _ in range(3):
        registry.add_job(job(kind="import", project="a"))
    settings.refresh(JobSettings(project_threads=3))
    assert engine.run_one()
    assert work.together == ["import a"] * 3


class Looked(MemoryRegistry):
    """Notes which threads look for jobs."""

    def __init__(self):
        super().__init__()
        self.threads = []
        self.often = threading.Event()

    def claim_job(self, *args):
        self.threads.append(threading.get_ident())
        if len(self.threads) > 50:
            self.often.set()
        return super().claim_job(*args)


@pytest.fixture
def engine():
    """Start an engine with four threads that look for jobs as often as they can."""
    with contextlib.ExitStack() as stack:

        def start(registry, work):
            started = Engine(registry, {"import": work}, JobSettings(poll=0.001, kind_threads=4))
            stack.callback(started.stop, PATIENCE)
            started.start_threads(4)
            return started

        yield start


def test_one_idle_thread_looks_for_jobs(engine):
    registry = Looked()
    engine(registry, Nested())
    assert registry.often.wait(PATIENCE)
    *others, _ = sorted(collections.Counter(registry.threads).values())
    assert set(others) <= {1}  # each once, when it started


class Together(Work):
    """Each job waits until another one runs."""

    def __init__(self):
        self.meeting = threading.Barrier(2)

    def run(self, job, context):
        self.meeting.wait(PATIENCE)


def test_another_thread_looks_while_one_is_busy(engine):
    """Jobs of another process, of which nobody notifies this one."""
    registry = MemoryRegistry()
    engine(registry, Together())
    jobs = [job(kind="import", project=None) for _ in range(4)]
    for one in jobs:
        registry.add_job(one)
    eventually(
        lambda: all(registry.get_job(one.id).state == JobState.SUCCESS for one in jobs),
        "all jobs end",
    )


def test_idle_threads_end(engine):
    started = engine(Looked(), Nested())
    started.stop(PATIENCE)
    assert not [thread for thread in threading.enumerate() if thread.name == Engine.POOL]
