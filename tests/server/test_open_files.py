"""Open files: how many connections a worker may have."""

import resource

import pytest

from imsgate.errors import BadConfig
from imsgate.server import open_files


@pytest.fixture
def limit(monkeypatch):
    """Let the system have such a hard limit; return the limits that are set."""
    limits = []

    def have(hard):
        monkeypatch.setattr(resource, "getrlimit", lambda _: (256, hard))
        monkeypatch.setattr(resource, "setrlimit", lambda _, new: limits.append(new))
        return limits

    return have


@pytest.mark.parametrize(
    ("hard", "threads", "connections"),
    [(1024, 128, 412), (1 << 20, 128, 4096), (resource.RLIM_INFINITY, 16, 4096), (200, 16, 36)],
)
def test_the_limit_is_raised_and_leaves_files_for_requests(limit, hard, threads, connections):
    limits = limit(hard)
    assert open_files.max_connections(threads) == connections
    assert limits == [(hard, hard)]


def test_too_few_files_for_the_threads_are_refused(limit):
    limit(256)
    with pytest.raises(BadConfig, match="741 open files; it is 256") as caught:
        open_files.max_connections(128)
    assert caught.value.key == "--threads"
