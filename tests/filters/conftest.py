import socket

import pytest

from tests.filters.alone import alone

__all__ = ["alone"]


@pytest.fixture
def pair():
    """The server's and the client's end of a connection."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs
