"""``imsgate serve``: the pipeline on an embedded server that streams request bodies."""

import argparse
import os
import pathlib
import sys
from collections.abc import Iterator
from typing import Any

import gunicorn.app.base
from gunicorn.errors import AppImportError
from oslo_log import log
from paste.deploy import loadwsgi

from imsgate import config, tokenfile
from imsgate.cmd import common
from imsgate.errors import BadConfig
from imsgate.filters.tokens import Tokens
from imsgate.registry import sql


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser("serve", help="serve the pipeline")
    parser.add_argument(
        "paste", nargs="?", metavar="PASTE_INI", help="which filters run (default: as installed)"
    )
    common.add_config_arguments(parser)
    parser.add_argument(
        "--bind", default="127.0.0.1:9292", metavar="HOST:PORT", help="(default: %(default)s)"
    )
    parser.add_argument(
        "--workers", type=int, default=min(os.cpu_count() or 1, 4), metavar="N", help="processes"
    )
    parser.add_argument(
        "--threads",
        type=int,
        default=64,
        metavar="N",
        help="requests at once in each process (default: %(default)s)",
    )
    parser.add_argument(
        "--grace",
        type=int,
        default=300,
        metavar="SECONDS",
        help="how long running requests may go on after SIGTERM (default: %(default)s)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    conf = common.load(args)
    paste = common.paste_uri(conf, args.paste)
    log.setup(conf.native, config.PROJECT)
    prepare(conf, paste, common.global_conf(args))
    announce(args.bind, conf.state_path)
    Server(paste, common.global_conf(args), args).run()
    return 0


def prepare(conf: config.Config, paste: str, global_conf: dict[str, str]) -> None:
    """What a first start needs: an embedded database and, with ``tokens``, an admin token.

    A database that is a server's is left alone: that one is migrated by
    ``imsgate db upgrade``, when its operator says so.
    """
    os.makedirs(conf.state_path, mode=0o700, exist_ok=True)
    database = conf.section("database", sql.SqlRegistry.OPTS)
    if sql.is_embedded(database):
        sql.upgrade(database)
    overrides = _tokens_section(paste, global_conf)
    if overrides is None:
        return
    token_file = conf.section(Tokens.NAME, Tokens.OPTS, overrides).token_file
    if not os.path.exists(token_file):
        token = tokenfile.add(token_file, user="admin", project="admin", roles=["admin", "member"])
        path = _admin_token(conf.state_path)
        path.touch(mode=0o600)
        path.write_text(token + "\n")


def _tokens_section(paste: str, global_conf: dict[str, str]) -> dict[str, str] | None:
    """The Paste keys of the ``tokens`` filter, or None when no pipeline has one."""
    try:
        main = loadwsgi.loadcontext(loadwsgi.APP, paste, global_conf=global_conf)
        for context in _filters(main):
            if context.entry_point_name == Tokens.NAME:
                return dict(context.local_conf)
    except (LookupError, OSError, ValueError, ImportError) as error:
        raise BadConfig(paste, str(error)) from error
    return None


def _filters(context: Any) -> Iterator[Any]:
    """The filters that requests meet, through ``egg:imsgate#paths`` and pipelines."""
    yield from getattr(context, "filter_contexts", ())
    if context.entry_point_name == "paths":
        for name in context.local_conf.values():
            yield from _filters(context.loader.get_context(loadwsgi.APP, name))


def _admin_token(state_path: str) -> pathlib.Path:
    return pathlib.Path(state_path, "admin-token")


def announce(bind: str, state_path: str) -> None:
    """Commands to paste for a first upload."""
    path = _admin_token(state_path)
    if not path.exists():
        return
    url = f"http://{bind}"
    print(
        f"imsgate serves {url}, everything is kept under {state_path}. To try it:\n\n"
        f"  export OS_AUTH_TYPE=admin_token OS_ENDPOINT={url}/v2 OS_TOKEN=$(cat {path})\n"
        f"  openstack image create --disk-format qcow2 --file disk.qcow2 first\n"
        f"  openstack image list\n",
        file=sys.stderr,
        flush=True,
    )


class Server(gunicorn.app.base.BaseApplication):
    """gunicorn with threads, set up for long request bodies."""

    def __init__(self, paste: str, global_conf: dict[str, str], args: argparse.Namespace) -> None:
        self._paste = paste
        self._global_conf = global_conf
        self._args = args
        super().__init__()

    def load_config(self) -> None:
        settings = {
            "bind": self._args.bind,
            "worker_class": "gthread",
            "workers": self._args.workers,
            "threads": self._args.threads,
            "graceful_timeout": self._args.grace,
            "proc_name": "imsgate",
            "loglevel": "warning",
        }
        # Newer gunicorns open a control socket in the user's home; nothing here asks for it.
        if "control_socket_disable" in self.cfg.settings:
            settings["control_socket_disable"] = True
        for name, value in settings.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        """The pipeline, built in the worker; what cannot work ends the server, by name."""
        try:
            return loadwsgi.loadapp(self._paste, global_conf=self._global_conf)
        except BadConfig as problem:
            raise AppImportError(f"imsgate: {problem}") from problem
        except (LookupError, ImportError) as problem:
            raise AppImportError(f"imsgate: {self._paste}: {problem}") from problem
