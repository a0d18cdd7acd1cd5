"""The servers run once per session; each module has a bucket of its own on each of them.

Swift needs three times as long as the others, so it takes part with IMSGATE_TEST_SWIFT=1 only.
Ceph needs twice as long as SeaweedFS. Without IMSGATE_TEST_CEPH=1, it takes no part in tests of
what the client holds, and sees each kind of upload once.
"""

import os
import pathlib

import pytest
from botocore.retries import standard

from tests.stores.s3 import servers

_HERE = pathlib.Path(__file__).parent


#: Parts of the names of tests that Ceph takes no part in.
_NOT_ON_CEPH = (
    *(
        "holds_nothing",
        "random_cuts",
        "whatever_the_memory_store",
        "many_processes",
        "many_threads",
    ),
    *("often", "across parts", "around a part", "unknown size"),
)


def pytest_collection_modifyitems(config, items):
    left_out = {item for item in items if item.path.parent == _HERE and _is_left_out(item.name)}
    config.hook.pytest_deselected(items=list(left_out))
    items[:] = [item for item in items if item not in left_out]


def _is_left_out(name):
    if "swift" in name:
        return not os.environ.get("IMSGATE_TEST_SWIFT")
    is_short = "ceph" in name and not os.environ.get("IMSGATE_TEST_CEPH")
    return is_short and any(part in name for part in _NOT_ON_CEPH)


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch):
    """Do not wait: botocore waits up to a second before it repeats a request."""
    monkeypatch.setattr(standard.ExponentialBackoff, "delay_amount", lambda *_: 0)


@pytest.fixture(scope="session")
def seaweed(tmp_path_factory):
    with servers.running(servers.seaweed(tmp_path_factory.mktemp("seaweed"))) as server:
        yield server


@pytest.fixture(scope="session")
def swift(tmp_path_factory):
    with servers.running(servers.swift(tmp_path_factory.mktemp("swift"))) as server:
        yield server


@pytest.fixture(scope="session")
def ceph(tmp_path_factory):
    server = servers.ceph(tmp_path_factory.mktemp("ceph"))
    yield server
    server.stop(kill=True)


#: For faults between the client and a server. How the client takes them does not depend on the
#: server, and Swift needs three times as long as the others.
FOR_FAULTS = pytest.mark.parametrize("bucket", ["seaweed", "ceph"], indirect=True)


@pytest.fixture(scope="module", params=["seaweed", "swift", "ceph"])
def bucket(request):
    with servers.bucket(request.getfixturevalue(request.param)) as bucket:
        yield bucket


@pytest.fixture
def store(bucket):
    store = bucket.store()
    yield store
    store.close()
    bucket.empty()
