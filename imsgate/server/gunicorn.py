"""gunicorn with threads, set up for long uploads and downloads.

This module uses private parts of gunicorn: its arbiter and its limit of a request line. The
versions it was verified with are in tests/server/test_gunicorn_internals.py.
"""

import contextlib
import gc
import logging
import os
import signal
import socket
from collections.abc import Callable, Collection
from typing import Any

import gunicorn.app.base
from gunicorn.arbiter import Arbiter
from gunicorn.errors import AppImportError, HaltServer
from gunicorn.http import message

from imsgate import metrics
from imsgate.app import hand_back
from imsgate.config import Config
from imsgate.errors import BadConfig
from imsgate.http.wsgi import WsgiApp
from imsgate.server import bodies, malloc, open_files, reloading
from imsgate.server.connections import ConnectionWorker
from imsgate.server.heads import MAX_LINE_BYTES

LOG = logging.getLogger(__name__)

#: A file system in memory, if the host has one.
_MEMORY_DIR = "/dev/shm"  # noqa: S108 - gunicorn creates its file there securely


class Server(gunicorn.app.base.BaseApplication):
    """A gunicorn server. ``run`` blocks until SIGTERM or SIGINT."""

    def __init__(
        self,
        load: Callable[[], WsgiApp],
        loaded: Callable[[], None],
        *,
        bind: str,
        socket_mode: int = 0o660,
        workers: int,
        threads: int,
        grace: int,
        stopped: Callable[[], None] = lambda: None,
        conf: Config,
        reserved_paths: Collection[str] = (),
    ) -> None:
        """``load`` builds the application in each worker; a BadConfig stops the server.

        ``loaded`` is called once, in the first worker that has loaded it, and ``stopped`` when the
        server ends without an error. The workers read ``conf`` again at SIGHUP. ``socket_mode`` is
        the mode of a Unix socket. ``threads`` is the number per worker; ``grace`` is in seconds.
        ``reserved_paths`` are answered by threads of their own. Raises BadConfig if the system
        allows too few open files for that many threads.
        """
        Worker.RESERVED_PATHS = frozenset(reserved_paths)
        self._load = load
        self._loaded = loaded
        self.stopped = stopped
        self._conf = conf
        #: Whether the configuration has been read again. A worker that replaces another one then
        #: does the same: what it inherits is what the master read at its start.
        self.has_reloaded = False
        self._options: dict[str, Any] = {
            "bind": bind,
            # gunicorn applies it when it creates the socket, so that nobody else can ever connect.
            "umask": 0o777 & ~socket_mode,
            "workers": workers,
            "threads": threads,
            "graceful_timeout": grace,
            "worker_connections": open_files.max_connections(threads),
        }
        # One worker reads this byte and is the first; the others find the end of the pipe.
        self._first, end = os.pipe()
        os.write(end, b"1")
        os.close(end)
        super().__init__()

    def load_config(self) -> None:
        settings = {
            **self._options,
            "worker_class": Worker,
            "pre_request": bodies.read_directly,
            "limit_request_line": MAX_LINE_BYTES,
            "limit_request_field_size": MAX_LINE_BYTES,
            "post_worker_init": self.report_loaded,
            "proc_name": "imsgate",
            "loglevel": "warning",
            # By default, gunicorn believes the headers SCRIPT_NAME and PATH_INFO, rather than the
            # request line, if they come from this host, which is where a reverse proxy may run.
            "forwarder_headers": "",
            # Otherwise it would open a control socket in the user's home, which nothing uses.
            "control_socket_disable": True,
        }
        # gunicorn caps its setting limit_request_line at this constant.
        message.MAX_REQUEST_LINE = MAX_LINE_BYTES
        # Every request touches the heartbeat file, which took a tenth of its time on a disk.
        if os.access(_MEMORY_DIR, os.W_OK):
            settings["worker_tmp_dir"] = _MEMORY_DIR
        for name, value in settings.items():
            self.cfg.set(name, value)

    def run(self) -> int:
        """Serve. Returns the exit status, which is not 0 if the application cannot be loaded."""
        try:
            Master(self).run()
        except HaltServer as halt:
            # Raised if a second worker fails to load while gunicorn stops because of the first.
            return int(halt.exit_status)
        return 0

    def report_loaded(self, worker: Any) -> None:
        """gunicorn's ``post_worker_init`` hook."""
        if os.read(self._first, 1):
            self._loaded()

    def start_reloading(self) -> None:
        """Called in each worker once it has loaded the application."""
        if self.has_reloaded:
            reloading.reload(self._conf)
        reloading.start(self._conf)

    def load(self) -> WsgiApp:
        """Called by gunicorn in each worker."""
        malloc.reuse_large_buffers()
        try:
            app = self._load()
        except BadConfig as problem:
            raise AppImportError(f"imsgate: {problem}") from problem
        metrics.THREADS.add("requests", amount=self._options["threads"])
        # What has been loaded stays. Collecting it again and again doubled the time of every
        # second request for a long list.
        gc.freeze()
        return app


class Master(Arbiter):
    """gunicorn's arbiter; its workers miss no signal.

    Until a new worker has installed its signal handlers, it has those of the master, which only
    queue the signal. A worker that received SIGTERM right after the fork kept running until
    ``--grace`` was over.
    """

    def halt(self, reason: str | None = None, exit_status: int = 0) -> None:
        """End the master, once its workers have ended. Raises SystemExit."""
        try:
            super().halt(reason, exit_status)
        finally:
            if exit_status == 0:
                self.app.stopped()

    def handle_hup(self) -> None:
        """SIGHUP: let the workers read the configuration again. gunicorn would replace them, and
        end uploads that take longer than ``--grace``."""
        self.app.has_reloaded = True
        self.kill_workers(reloading.SIGNAL)

    def spawn_worker(self) -> Any:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, self.SIGNALS)
        try:
            return super().spawn_worker()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Worker(ConnectionWorker):
    """A worker that survives slow clients and stops without losing requests."""

    def init_signals(self) -> None:
        super().init_signals()
        # The thread that ``start_reloading`` starts waits for SIGHUP, which stays blocked.
        signals = {*Master.SIGNALS} - {reloading.SIGNAL}
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)

    def run(self) -> None:
        self.app.start_reloading()
        super().run()
        hand_back()

    def handle_request(self, req: Any, conn: Any) -> Any:
        """Serve one request; also end the connection of a client that does not read (``pace``).

        gunicorn would log a traceback.
        """
        try:
            return super().handle_request(req, conn)
        except TimeoutError:
            LOG.warning("%s does not read the response", conn.client)
            with contextlib.suppress(OSError):  # already closed by the client
                conn.sock.shutdown(socket.SHUT_RDWR)
            return False

    def set_accept_enabled(self, enabled: bool) -> None:
        """Close the listening sockets, too, once the worker is stopping.

        gunicorn keeps listening without accepting until the last upload has ended. A client that
        connects meanwhile waits for that, and a new server cannot bind the port.
        """
        super().set_accept_enabled(enabled)
        if not self.alive:
            for listener in self.sockets:
                listener.close()
