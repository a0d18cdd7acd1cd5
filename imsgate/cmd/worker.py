"""``imsgate worker``: run jobs in a process of its own, on any host."""

import argparse
import signal
from typing import Any

from imsgate.bridge import remote
from imsgate.cmd import arguments
from imsgate.config import Config
from imsgate.filters.metrics import begin_configured
from imsgate.forward.settings import ForwardSettings
from imsgate.jobs import engine
from imsgate.server import life, reloading
from imsgate.services import Services, load_services


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser("worker", help="run jobs, such as imports")
    arguments.add_config(parser)
    parser.add_argument(
        "--threads",
        type=arguments.positive,
        default=2,
        metavar="N",
        help="concurrent jobs (default: %(default)s)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run jobs until SIGTERM or SIGINT, then hand unfinished jobs back to other workers."""
    conf = arguments.load(args)
    conf.set_up_log()
    begin_configured(conf)
    # Blocked before any other thread starts, so that those threads receive them that wait for them.
    signal.pthread_sigmask(signal.SIG_BLOCK, {*engine.ENDS, reloading.SIGNAL})
    parts = load(conf)
    life.log_start(conf, f"runs jobs on {args.threads} threads")
    reloading.start(conf)
    parts.notifications.start_threads()
    parts.verification.start_threads(1)
    parts.engine.work(args.threads)
    parts.verification.stop()
    parts.notifications.stop()
    parts.registry.close()
    life.log_stop()
    return 0


def load(conf: Config) -> Services:
    """The services of a worker; those of a bridge if there is an image service behind this one.

    Raises BadConfig.
    """
    bridged = conf.read(ForwardSettings).upstream is not None
    return load_services(conf, remote=remote.load(conf) if bridged else None)
