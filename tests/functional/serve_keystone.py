"""Keystone on cheroot. At SIGUSR1, it stops listening; at the next one, it listens again."""

import signal
import sys
import threading

from cheroot import wsgi


def main() -> None:
    port = int(sys.argv[1])
    del sys.argv[1:]  # Keystone would parse them
    signals = [signal.SIGTERM, signal.SIGUSR1]
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    from keystone.wsgi.api import application  # noqa: PLC0415 - loads the configuration

    while True:
        # SQLite refuses one of two requests that write at the same time.
        server = wsgi.Server(("127.0.0.1", port), application, numthreads=1)
        server.prepare()
        serving = threading.Thread(target=server.serve)
        serving.start()
        received = signal.sigwait(signals)
        server.stop()
        serving.join()
        if received == signal.SIGTERM or signal.sigwait(signals) == signal.SIGTERM:
            return
