"""``imsgate serve``: serve the pipeline with the embedded server, gunicorn."""

import argparse
import os
from typing import Any

from imsgate import services
from imsgate.cmd import arguments
from imsgate.server import first_start, gunicorn, life, pastefile


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser("serve", help="serve the API")
    parser.add_argument(
        "paste",
        nargs="?",
        metavar="PASTE_INI",
        help="the Paste file, which says which filters run (default: the installed one)",
    )
    arguments.add_config(parser)
    arguments.add_bind(
        parser,
        default="127.0.0.1:9292",
        help="where to listen; unix:PATH is a Unix socket (default: %(default)s)",
    )
    parser.add_argument(
        "--workers",
        type=arguments.positive,
        default=min(os.cpu_count() or 1, 4),
        metavar="N",
        help="number of processes (default: one per CPU, at most 4)",
    )
    parser.add_argument(
        "--threads",
        type=arguments.positive,
        default=128,
        metavar="N",
        help="concurrent requests per process (default: %(default)s)",
    )
    parser.add_argument(
        "--grace",
        type=arguments.positive,
        default=300,
        metavar="SECONDS",
        help="how long requests in progress may continue after SIGTERM (default: %(default)s)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT. Raises BadConfig before any worker has started."""
    conf = arguments.load(args)
    global_conf = arguments.global_conf(args)
    paste = pastefile.uri(conf, args.paste)
    conf.set_up_log()
    services.import_drivers(conf)
    # Imports what the pipeline consists of, so that the workers share it.
    parts = pastefile.loaded_parts(paste, global_conf)
    first_start.prepare(conf, parts)
    has_gate = pastefile.has_app(parts, "imsgate.app:app_factory")
    has_page = pastefile.has_app(parts, "imsgate.page.page:app_factory")

    def loaded() -> None:
        first_start.announce(args.bind, conf.state_path, page=has_page)
        conf.log_unread()
        processes = f"{args.workers} processes of {args.threads} threads"
        life.log_start(conf, f"serves {args.bind} with {processes}", with_services=has_gate)

    server = gunicorn.Server(
        lambda: pastefile.load(paste, global_conf),
        loaded,
        bind=args.bind,
        socket_mode=args.socket_mode,
        workers=args.workers,
        threads=args.threads,
        grace=args.grace,
        stopped=life.log_stop,
        conf=conf,
        reserved_paths=pastefile.exact_paths(parts),
    )
    return server.run()
