"""The pipeline on cheroot."""

import errno
import signal
import sys
import threading
from typing import Any

from cheroot import wsgi

from imsgate.wsgi_app import application


def _unraisable(told: Any) -> None:
    """All but what cheroot's files say when they are collected after their connection was
    closed, with something left to send: Python tells so since 3.13."""
    closed = isinstance(told.exc_value, OSError) and told.exc_value.errno == errno.EBADF
    if not closed:
        sys.__unraisablehook__(told)


def main() -> None:
    sys.unraisablehook = _unraisable
    # Not a handler that raises: in the middle of a queue's ``put``, its lock would stay
    # taken and the server would never end.
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    server = wsgi.Server(("127.0.0.1", int(sys.argv[1])), application, numthreads=16)
    server.prepare()
    serving = threading.Thread(target=server.serve)
    serving.start()
    signal.sigwait([signal.SIGTERM])
    server.stop()
    serving.join()
