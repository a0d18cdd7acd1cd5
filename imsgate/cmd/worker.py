"""``imsgate worker``: does jobs beside the serving processes, on any host."""

import argparse
import signal
from typing import Any

from imsgate.cmd import arguments
from imsgate.jobs import engine
from imsgate.services import load_services


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser("worker", help="do jobs, such as imports")
    arguments.add_config(parser)
    parser.add_argument(
        "--threads",
        type=arguments.positive,
        default=2,
        metavar="N",
        help="jobs at once (default: %(default)s)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Until SIGTERM or SIGINT, which hand the running jobs back."""
    conf = arguments.load(args)
    conf.set_up_log()
    # Blocked before any thread begins, so that the signal waits for this one.
    signal.pthread_sigmask(signal.SIG_BLOCK, engine.ENDS)
    parts = load_services(conf)
    parts.engine.work(args.threads)
    parts.registry.close()
    return 0
