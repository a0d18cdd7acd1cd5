"""Each module has its own servers, of one kind each."""

import contextlib

import pytest

from tests.stores.http import nginx


@pytest.fixture(scope="module")
def serve(tmp_path_factory):
    """Starts a server of a kind, once."""
    servers = {}
    with contextlib.ExitStack() as stack:

        def serve(kind):
            if kind not in servers:
                home = tmp_path_factory.mktemp("nginx")
                servers[kind] = stack.enter_context(nginx.running(home, kind))
            return servers[kind]

        yield serve
