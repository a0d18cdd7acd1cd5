"""``imsgate metrics``: report what this host has counted, on an address of its own or once."""

import argparse
import sys
from collections.abc import Callable, Iterable
from typing import Any

import webob

from imsgate import errors
from imsgate.api.metrics import report
from imsgate.cmd import arguments
from imsgate.filters.metrics import MetricsSettings
from imsgate.http import responses
from imsgate.http.wsgi import Environ, WsgiApp
from imsgate.metrics import exposition
from imsgate.registry.loader import load_registry
from imsgate.server import gunicorn, pastefile
from imsgate.stores import loader

_PATH = "/metrics"
#: Prometheus, a person, and one that is slow.
_THREADS = 3
_GRACE_SECONDS = 5


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "metrics",
        help="report metrics for Prometheus",
        description="Print the metrics of this host, or serve them at /metrics without "
        "authentication. Run it as the user of `imsgate serve`.",
    )
    parser.add_argument(
        "paste",
        nargs="?",
        metavar="PASTE_INI",
        help="the Paste file of `imsgate serve` (default: the installed one)",
    )
    arguments.add_config(parser)
    arguments.add_bind(
        parser,
        default=None,
        help="serve them here until SIGTERM; unix:PATH is a Unix socket (default: print them once)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print, or serve until SIGTERM or SIGINT. Raises BadConfig."""
    if args.bind is None:
        sys.stdout.write(_reporter(args)().decode())
        return 0
    conf = arguments.load(args)
    conf.set_up_log()
    server = gunicorn.Server(
        lambda: _app(_reporter(args)),
        lambda: None,
        bind=args.bind,
        socket_mode=args.socket_mode,
        workers=1,
        threads=_THREADS,
        grace=_GRACE_SECONDS,
        conf=conf,
    )
    return server.run()


def _reporter(args: argparse.Namespace) -> Callable[[], bytes]:
    """A function that returns the metrics. A gateway that only forwards has no records."""
    conf = arguments.load(args)
    settings = conf.read(MetricsSettings)
    paste = pastefile.uri(conf, args.paste)
    parts = pastefile.loaded_parts(paste, arguments.global_conf(args))
    if not pastefile.has_app(parts, "imsgate.app:app_factory"):
        return lambda: report(settings, None, None)
    registry, stores = load_registry(conf), loader.load(conf)
    return lambda: report(settings, registry, stores)


def _app(read: Callable[[], bytes]) -> WsgiApp:
    def app(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"] != _PATH or environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return responses.refusal(errors.NotFound(what=_PATH))(environ, start_response)
        try:
            body = read()
        except errors.Error as error:
            return responses.refusal(error)(environ, start_response)
        response = webob.Response(body=body, content_type=None)
        response.headers["Content-Type"] = exposition.CONTENT_TYPE
        chunks: Iterable[bytes] = response(environ, start_response)
        return chunks

    return app
