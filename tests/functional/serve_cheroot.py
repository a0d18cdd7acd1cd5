"""The pipeline on cheroot: ``python -m tests.functional.serve_cheroot PORT``."""

import signal
import sys
from typing import Any

from cheroot import wsgi

from imsgate.wsgi_app import application


def main() -> None:
    server = wsgi.Server(("127.0.0.1", int(sys.argv[1])), application, numthreads=16)

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    try:
        server.start()
    except KeyboardInterrupt:
        server.stop()


if __name__ == "__main__":
    main()
