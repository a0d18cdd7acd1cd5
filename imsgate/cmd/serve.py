"""``imsgate serve``: the pipeline on an embedded server that streams request bodies."""

import argparse
import configparser
import contextlib
import gc
import logging
import os
import pathlib
import signal
import socket
import sys
from collections.abc import Iterator
from typing import Any

import gunicorn.app.base
from gunicorn.arbiter import Arbiter
from gunicorn.errors import AppImportError, HaltServer
from gunicorn.http import message
from gunicorn.http.body import ChunkedReader, LengthReader
from paste.deploy import loadwsgi

from imsgate import config, services
from imsgate.app import hand_back
from imsgate.auth import token_file
from imsgate.cmd import arguments, writing
from imsgate.errors import BadConfig
from imsgate.filters.tokens import Tokens
from imsgate.registry import sql
from imsgate.server import bodies, malloc, pastefile
from imsgate.server.connections import ConnectionWorker

LOG = logging.getLogger(__name__)


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser("serve", help="serve the pipeline")
    parser.add_argument(
        "paste", nargs="?", metavar="PASTE_INI", help="which filters run (default: as installed)"
    )
    arguments.add_config(parser)
    parser.add_argument(
        "--bind",
        type=_address,
        default="127.0.0.1:9292",
        metavar="HOST:PORT",
        help="(default: %(default)s)",
    )
    parser.add_argument(
        "--workers",
        type=arguments.positive,
        default=min(os.cpu_count() or 1, 4),
        metavar="N",
        help="processes",
    )
    parser.add_argument(
        "--threads",
        type=arguments.positive,
        default=128,
        metavar="N",
        help="requests at once in each process (default: %(default)s)",
    )
    parser.add_argument(
        "--grace",
        type=arguments.positive,
        default=300,
        metavar="SECONDS",
        help="how long running requests may go on after SIGTERM (default: %(default)s)",
    )
    parser.set_defaults(run=run)


def _address(text: str) -> str:
    host, _, port = text.rpartition(":")
    if host != "unix" and not (port.isascii() and port.isdigit() and int(port) < 1 << 16):
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT")
    return text


def run(args: argparse.Namespace) -> int:
    conf = arguments.load(args)
    paste = pastefile.uri(conf, args.paste)
    conf.set_up_log()
    services.import_drivers(conf)
    prepare(conf, paste, arguments.global_conf(args))
    try:
        Server(paste, arguments.global_conf(args), args, conf.state_path).run()
    except HaltServer as halt:
        # Several workers failed at once: gunicorn expects one, and was halting already.
        return int(halt.exit_status)
    return 0


def prepare(conf: config.Config, paste: str, global_conf: dict[str, str]) -> None:
    """What a first start needs: an embedded database and, with ``tokens``, an admin token.

    A database that is a server's is left alone: that one is migrated by
    ``imsgate db upgrade``, when its operator says so.
    """
    writing.make_state(conf)
    database = conf.section("database", sql.SqlRegistry.OPTS)
    if sql.is_embedded(database):
        sql.upgrade(database)
    overrides = _tokens_section(paste, global_conf)
    if overrides is None:
        return
    path_of_tokens = conf.section(Tokens.NAME, Tokens.OPTS, overrides).token_file
    if os.path.exists(path_of_tokens):
        return
    token, path = token_file.new(), _admin_token(conf.state_path)
    # In this order: a crash in between leaves no token that nobody knows.
    with writing.naming("[DEFAULT] state_path", str(path)):
        path.touch(mode=0o600)
        path.write_text(token + "\n")
    roles = ["admin", "member"]
    token_file.add(path_of_tokens, user="admin", project="admin", roles=roles, presented=token)


def _tokens_section(paste: str, global_conf: dict[str, str]) -> dict[str, str] | None:
    """The Paste keys of the ``tokens`` filter, or None when no pipeline has one."""
    try:
        main = loadwsgi.loadcontext(loadwsgi.APP, paste, global_conf=global_conf)
        for context in _filters(main):
            if context.entry_point_name == Tokens.NAME:
                return dict(context.local_conf)
    except (LookupError, OSError, ValueError, ImportError, configparser.Error) as error:
        raise pastefile.unloadable(paste, error) from error
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
    """Commands to paste for a first upload; OpenStack's clients do not speak to a socket file."""
    path = _admin_token(state_path)
    if bind.startswith("unix:") or not path.exists():
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


class Master(Arbiter):
    """gunicorn's, whose workers miss no signal.

    Until a worker has its own handlers, it has the master's, which only take a note: one
    told to end as soon as it was forked went on until ``--grace`` was over.
    """

    def spawn_worker(self) -> Any:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, self.SIGNALS)
        try:
            return super().spawn_worker()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Worker(ConnectionWorker):
    """gunicorn's, which ends clients that take no answer, and stops listening."""

    def init_signals(self) -> None:
        super().init_signals()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, Master.SIGNALS)

    def run(self) -> None:
        super().run()
        hand_back()

    def handle_request(self, req: Any, conn: Any) -> Any:
        """Also end the connection of a client that does not take its answer (``pace``).

        gunicorn's own tells a traceback, and its main thread waits two seconds for the client.
        """
        try:
            return super().handle_request(req, conn)
        except TimeoutError:
            LOG.warning("%s does not take its answer", conn.client)
            with contextlib.suppress(OSError):  # gone already
                # Not the method of a TLS socket, which would forget its keys.
                socket.socket.shutdown(conn.sock, socket.SHUT_RDWR)
            return False

    def set_accept_enabled(self, enabled: bool) -> None:
        """From SIGTERM on also close the listeners.

        gunicorn's own goes on listening without accepting until the last upload is through:
        whoever connects meanwhile waits for that, and a new server cannot have the port.
        """
        super().set_accept_enabled(enabled)
        if not self.alive:
            for listener in self.sockets:
                listener.close()


#: The body of a refused request that gunicorn reads to its end to keep the connection.
_READ_TO_THE_END = 1 << 16


def take_long_body(worker: Any, request: Any) -> None:
    """gunicorn's ``pre_request``: a connection ends with a long body, and clients are told.

    gunicorn promises to keep the connection before it knows whether the body will be
    read, and closes it when it was not: a client that believed the promise would lose
    its next request, such as the deletion of the image that was refused.
    """
    reader = request.body.reader
    if isinstance(reader, ChunkedReader):
        request.body = bodies.chunked(reader)
    elif isinstance(reader, LengthReader) and reader.length >= _READ_TO_THE_END:
        request.body = bodies.of_length(reader)
    else:
        return
    request.force_close()


#: A file system in memory, where Linux has one.
_MEMORY = "/dev/shm"  # noqa: S108 - gunicorn makes its file there safely


#: Bytes of a request line, and of a header field. Horizon asks for 219 images by their ids in
#: one line of 8.6 kB; a token may hold a whole catalog.
_LONGEST_LINE = 16 << 10


class Server(gunicorn.app.base.BaseApplication):
    """gunicorn with threads, set up for long request bodies."""

    def __init__(
        self, paste: str, global_conf: dict[str, str], args: argparse.Namespace, state_path: str
    ) -> None:
        self._paste = paste
        self._global_conf = global_conf
        self._args = args
        self._state_path = state_path
        # Of all workers, one will read this byte and the others the end.
        self._untold, end = os.pipe()
        os.write(end, b"1")
        os.close(end)
        super().__init__()

    def load_config(self) -> None:
        settings = {
            "bind": self._args.bind,
            "worker_class": Worker,
            "workers": self._args.workers,
            "threads": self._args.threads,
            "graceful_timeout": self._args.grace,
            "pre_request": take_long_body,
            "limit_request_line": _LONGEST_LINE,
            "limit_request_field_size": _LONGEST_LINE,
            "post_worker_init": self.loaded,
            "proc_name": "imsgate",
            "loglevel": "warning",
            # By default a header SCRIPT_NAME or PATH_INFO of a client on this host, so of a
            # reverse proxy's, is believed instead of the request line.
            "forwarder_headers": "",
        }
        # gunicorn takes no longer request line than this, whatever its setting says.
        message.MAX_REQUEST_LINE = _LONGEST_LINE
        # Every request touches the heartbeat's file: a tenth of its time on a disk.
        if os.access(_MEMORY, os.W_OK):
            settings["worker_tmp_dir"] = _MEMORY
        # Newer gunicorns open a control socket in the user's home; nothing here asks for it.
        if "control_socket_disable" in self.cfg.settings:
            settings["control_socket_disable"] = True
        for name, value in settings.items():
            self.cfg.set(name, value)

    def run(self) -> None:
        Master(self).run()

    def loaded(self, worker: Any) -> None:
        """gunicorn's ``post_worker_init``: what is configured works; the first worker says so."""
        if os.read(self._untold, 1):
            announce(self._args.bind, self._state_path)
            config.load(self._global_conf).tell_unread()

    def load(self) -> Any:
        """The pipeline, built in the worker; what cannot work ends the server, by name."""
        malloc.keep()
        try:
            app = loadwsgi.loadapp(self._paste, global_conf=self._global_conf)
            # What is loaded by now stays: the collector need not look at it again and again,
            # which made every second long list take twice its time.
            gc.freeze()
            return app
        except BadConfig as problem:
            raise AppImportError(f"imsgate: {problem}") from problem
        except (LookupError, ImportError) as problem:
            named = pastefile.unloadable(self._paste, problem)
            raise AppImportError(f"imsgate: {named}") from problem
