"""``imsgate worker``: run jobs in a process of its own, on any host."""

import argparse
import signal
from collections.abc import Mapping
from typing import Any

from imsgate.bridge import remote
from imsgate.cmd import arguments
from imsgate.config import Config, DefaultSettings
from imsgate.errors import BadConfig
from imsgate.filters.metrics import begin_configured
from imsgate.forward.application import Forward
from imsgate.forward.settings import ForwardSettings
from imsgate.jobs import engine
from imsgate.server import life, pastefile, reloading
from imsgate.services import Services, load_services
from imsgate.spool.services import Spool, load_spool


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser("worker", help="run jobs, such as imports")
    parser.add_argument(
        "paste",
        nargs="?",
        metavar="PASTE_INI",
        help="the Paste file of `imsgate serve` (default: the installed one)",
    )
    arguments.add_config(parser)
    parser.add_argument(
        "--threads",
        type=arguments.positive,
        default=4,
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
    parts = load(conf, pastefile.uri(conf, args.paste), arguments.global_conf(args))
    life.log_start(conf, f"runs jobs on {args.threads} threads")
    reloading.start(conf)
    services = parts if isinstance(parts, Services) else None
    if services:
        services.notifications.start_threads()
        services.verification.start_threads(1)
    parts.engine.work(args.threads)
    if services:
        services.verification.stop()
        services.notifications.stop()
    parts.registry.close()
    life.log_stop()
    return 0


def load(conf: Config, paste: str, global_conf: Mapping[str, str]) -> Services | Spool:
    """The services whose jobs the application of the Paste file records. ``paste`` is that of
    ``pastefile.uri``.

    Raises BadConfig, naming the option.
    """
    applications = pastefile.loaded_parts(paste, global_conf)
    if pastefile.has_app(applications, "imsgate.bridge_app:app_factory"):
        return load_services(conf, remote=remote.load(conf))
    forwarding = pastefile.app_options(applications, "imsgate.spool.factory:app_factory")
    if forwarding is None:
        return load_services(conf)
    settings = conf.read(ForwardSettings, forwarding)
    if not settings.spool_store:
        problem = "it is not set, so this service has no jobs: run `imsgate serve` without a worker"
        raise BadConfig("[forward] spool_store", problem)
    forward = Forward(settings, conf.read(DefaultSettings).public_endpoint)
    return load_spool(conf, settings, forward)
