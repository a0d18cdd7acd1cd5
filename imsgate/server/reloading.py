"""SIGHUP: the process reads its configuration files again, and nothing is restarted."""

import logging
import signal
import threading

from imsgate.config import Config
from imsgate.errors import BadConfig

LOG = logging.getLogger(__name__)

SIGNAL = signal.SIGHUP


def reload(conf: Config) -> None:
    """Take up what can change at run time. An invalid file is logged, and changes nothing."""
    try:
        conf.reload()
    except BadConfig as problem:
        LOG.error(
            "The configuration is invalid; the former values remain in force: %s",
            problem,
            extra={"extra": {"option": problem.key}},
        )
    except Exception:
        LOG.exception("Reading the configuration again failed")
    else:
        LOG.info("The configuration files have been read again")


def start(conf: Config) -> None:
    """Call ``reload`` at each SIGHUP from now on, on a thread of its own.

    The signal must be blocked in all threads. One that has arrived meanwhile counts.
    """
    threading.Thread(target=_reload_forever, args=(conf,), name="reload", daemon=True).start()


def _reload_forever(conf: Config) -> None:
    while True:
        signal.sigwait({SIGNAL})
        reload(conf)
