"""Images on an FTP server: an example of a store driver that keeps connections to a server."""

import calendar
import contextlib
import ftplib
import os
import select
import threading
import time
from collections.abc import Iterator

from oslo_config import cfg

from imsgate import errors
from imsgate.errors import BadConfig
from imsgate.stores.base import ATTEMPT, LOCATION, Sink, Store, Sweeps, Swept

#: Prefix of files that are being written. No location begins with it.
_PART = ".part-"
_CHUNK_BYTES = 1 << 18
#: Times to restart a transfer that has returned no data.
_ATTEMPTS = 5

#: Replies (RFC 959, section 4.2.1) that mean a full medium, a login that is refused, and a file
#: that is missing or that this user may not use.
_FULL = frozenset({"452", "552"})
_DENIED = frozenset({"530", "532", "553"})
_MISSING = "550"


class FtpStore(Store, Sweeps):
    """Images as files in one directory of an FTP server."""

    OPTS = (
        cfg.StrOpt("ftp_host", help="Name or address of the server."),
        cfg.PortOpt("ftp_port", default=21, help="Port of the server."),
        cfg.StrOpt("ftp_user", default="anonymous", help="User who can write ftp_directory."),
        cfg.StrOpt("ftp_password", default="", secret=True, help="Password of this user."),
        cfg.StrOpt("ftp_directory", default="/", help="Directory for the images. It must exist."),
        cfg.IntOpt(
            "ftp_timeout",
            default=30,
            min=1,
            help="Seconds without a response after which a request fails.",
        ),
        cfg.IntOpt(
            "ftp_idle_connections",
            default=8,
            min=0,
            help="Number of unused connections that each process keeps open.",
        ),
    )

    def __init__(self, name, settings):
        super().__init__(name, settings)
        if not settings.ftp_host:
            raise BadConfig(f"[{name}] ftp_host", "must name the server")
        self.connections = Connections(name, settings)
        try:
            self.check()
        except errors.StoreDenied as error:
            raise BadConfig(f"[{name}] ftp_user", error.details["problem"]) from None
        except errors.StoreUnavailable as error:
            raise BadConfig(f"[{name}] ftp_host", error.details["problem"]) from None
        finally:
            self.close()  # the server forks now, and processes cannot share a connection

    def create(self, key, size):
        return FtpSink(self, key)

    def read(self, location, offset=0, length=None):
        return FtpReader(self, location, offset, length)

    def size(self, location):
        try:
            return self._size(location)
        except errors.StoreDenied:
            # It may have been committed after the server said that it is missing.
            return self._size(location)

    def _size(self, location):
        with self.finding(self._checked(location)) as connection:
            return connection.size(location)

    def delete(self, location):
        with self.finding(self._checked(location)) as connection:
            connection.delete(location)

    def discard(self, key):
        # The unfinished file first: if the attempt is committed meanwhile, the second removal
        # finds the object.
        for name in (_PART + key, key):
            with contextlib.suppress(errors.ObjectNotFound), self.finding(name) as connection:
                connection.delete(name)

    def check(self):
        with self.connections.use() as connection:
            connection.cwd(self.settings.ftp_directory)

    def place(self):
        return self.settings.ftp_host, self.settings.ftp_port, self.settings.ftp_directory

    def properties(self):
        return {"ftp_host": self.settings.ftp_host, "ftp_directory": self.settings.ftp_directory}

    def sweep(self, age, living):
        """See Sweeps. The age is the time since the last write, by the clocks of both hosts."""
        before = time.time() - age

        def unwanted(key, facts):
            return _modified(facts) <= before and not living(key)

        return self._sweep(_PART, unwanted)

    def sweep_objects(self, orphaned):
        return self._sweep("", lambda key, facts: orphaned(key))

    def _sweep(self, prefix, unwanted):
        with self.connections.use() as connection:
            files = self._files(connection)
        attempts = size = 0
        for name, facts in files:
            key = name.removeprefix(prefix)
            # Other applications may have files in the same directory.
            if name != prefix + key or not ATTEMPT.fullmatch(key) or not unwanted(key, facts):
                continue
            with contextlib.suppress(errors.ObjectNotFound), self.finding(name) as connection:
                connection.delete(name)
                attempts, size = attempts + 1, size + int(facts["size"])
        return Swept(attempts, size)

    def close(self):
        """Close idle connections; the store stays usable."""
        self.connections.close()

    def _checked(self, location):
        if not LOCATION.fullmatch(location):
            raise errors.ObjectNotFound(f"store {self.name}")
        return location

    @contextlib.contextmanager
    def finding(self, name):
        """A connection for a request about the file ``name``. Raises ObjectNotFound if it is
        missing and the directory is there, and what ``Connections.use`` raises."""
        with self.connections.use() as connection:
            try:
                yield connection
            except ftplib.error_perm as error:
                if _code(error) != _MISSING:
                    raise
                # The server says the same for a file that exists but may not be used.
                connection.cwd(self.settings.ftp_directory)
                if name in dict(self._files(connection)):
                    problem = "the server denies access to a file"
                    raise errors.StoreDenied(store=self.name, problem=problem) from None
                raise errors.ObjectNotFound(f"store {self.name}") from None

    @staticmethod
    def _files(connection):
        """Names and facts of all files in the directory."""
        entries = [each for each in connection.mlsd() if each[1]["type"] == "file"]
        connection.voidcmd("TYPE I")  # ftplib has sent TYPE A, in which a file has no size
        return entries


class Connections:
    """Connections to the server, each logged in and in the store's directory.

    One thread at a time uses a connection, from its request to the last response. What nobody uses
    is kept for the next request of any thread of this process.
    """

    def __init__(self, store, settings):
        self._store, self._settings = store, settings
        self._lock = threading.Lock()
        self._idle = []
        self._pid = os.getpid()

    def take(self):
        """A connection for this thread: give it back, or close it. Raises what ``use`` raises."""
        with self.reporting():
            while connection := self._pop():
                if not _is_readable(connection):
                    return connection
                connection.close()  # the server has closed it, or said that it will
            return self._connect()

    def give_back(self, connection):
        """Keep a connection on which no response is outstanding."""
        with self._lock:
            if self._pid == os.getpid() and len(self._idle) < self._settings.ftp_idle_connections:
                self._idle.append(connection)
                return
        connection.close()

    @contextlib.contextmanager
    def use(self):
        """A connection for the requests in the block.

        Raises StoreFull, StoreDenied or StoreUnavailable.
        """
        connection = self.take()
        try:
            with self.reporting():
                yield connection
        except (errors.ObjectNotFound, errors.StoreDenied):
            self.give_back(connection)  # the server has answered
            raise
        except BaseException:
            connection.close()
            raise
        self.give_back(connection)

    def close(self):
        """Close the idle connections."""
        while connection := self._pop():
            connection.close()

    @contextlib.contextmanager
    def reporting(self):
        """Translate errors. No text of the server is passed on: it may contain paths."""
        try:
            yield
        except ftplib.all_errors as error:
            code = _code(error)
            if code in _FULL:
                raise errors.StoreFull(store=self._store) from None
            if code in _DENIED:
                problem = f"the server answers {code}: check user, password and permissions"
                raise errors.StoreDenied(store=self._store, problem=problem) from None
            if code:
                problem = f"the server answers {code}"
            elif isinstance(error, OSError) and error.errno:
                problem = os.strerror(error.errno)
            else:
                problem = "the server does not respond, or has closed the connection"
            raise errors.StoreUnavailable(store=self._store, problem=problem) from None

    def _pop(self):
        with self._lock:
            if self._pid != os.getpid():
                # A fork has copied them. They are closed here without a word to the server,
                # because the parent goes on using them.
                for connection in self._idle:
                    connection.close()
                self._idle, self._pid = [], os.getpid()
            return self._idle.pop() if self._idle else None

    def _connect(self):
        settings = self._settings
        connection = ftplib.FTP(timeout=settings.ftp_timeout)  # noqa: S321 - see README.md
        try:
            connection.connect(settings.ftp_host, settings.ftp_port)
            connection.login(settings.ftp_user, settings.ftp_password)
            connection.voidcmd("TYPE I")
            connection.cwd(settings.ftp_directory)
        except BaseException:
            connection.close()
            raise
        return connection


class FtpSink(Sink):
    """One file that is being sent. It uses one connection until it ends."""

    def __init__(self, store, key):
        self._store, self._key = store, key
        self._connections = store.connections
        self._written = 0
        self._committed = False
        self._data = None
        self._connection = self._connections.take()
        with self._aborting():
            self._data = self._connection.transfercmd(f"STOR {_PART}{key}")

    def write(self, chunk):
        with self._aborting():
            try:
                self._data.sendall(chunk)
            except OSError:
                self._connection.voidresp()  # raises what the server says, such as 552
                raise
            self._written += len(chunk)

    def commit(self):
        if not self._committed:
            with self._aborting():
                self._data.close()  # the end of the file
                self._connection.voidresp()
                if self._connection.size(_PART + self._key) != self._written:
                    raise EOFError
                self._rename()
            self._committed = True
            connection, self._connection = self._connection, None
            self._connections.give_back(connection)
        return self._key

    def _rename(self):
        """Servers replace an existing file, so it is looked for. Nobody else uses this key."""
        try:
            self._connection.size(self._key)
        except ftplib.error_perm:
            self._connection.rename(_PART + self._key, self._key)
        else:
            problem = "the object exists"
            raise errors.StoreUnavailable(store=self._store.name, problem=problem)

    def abort(self):
        if self._connection is None:
            return
        for each in (self._data, self._connection):
            if each is not None:
                each.close()
        self._connection = None
        # If the server is away, ``discard`` removes it later.
        name = _PART + self._key
        unless = contextlib.suppress(errors.Error, errors.ObjectNotFound)
        with unless, self._store.finding(name) as connection:
            connection.delete(name)

    @contextlib.contextmanager
    def _aborting(self):
        """Abort after any failure: a file that lacks a write must not be committed."""
        if self._connection is None:
            problem = "this attempt was aborted or discarded"
            raise errors.StoreUnavailable(store=self._store.name, problem=problem)
        try:
            with self._connections.reporting():
                yield
        except BaseException:
            self.abort()
            raise


class FtpReader(Iterator):
    """One file that is being received. It uses one connection until it ends."""

    def __init__(self, store, location, offset, length):
        size = store.size(location)
        self._store, self._data = store, None
        self._remaining = size - offset if length is None else length
        self._is_rest = offset + self._remaining == size
        self._request = f"RETR {location}", offset or None
        self._attempts = _ATTEMPTS
        self._connection = None
        self._begin()

    def _begin(self):
        self._connection = self._store.connections.take()
        try:
            if self._remaining:
                with self._store.connections.reporting():
                    self._data = self._connection.transfercmd(*self._request)
        except BaseException:
            self.close()
            raise

    def __next__(self):
        if not self._remaining or self._connection is None:
            self.close()
            raise StopIteration
        try:
            with self._store.connections.reporting():
                chunk = self._receive()
            if not chunk:
                problem = "the object is shorter than its size"
                raise errors.StoreUnavailable(store=self._store.name, problem=problem)
        except BaseException:
            self.close()
            raise
        self._remaining -= len(chunk)
        if not self._remaining:
            self._finish()
        return chunk

    def _receive(self):
        """The next bytes. A busy pyftpdlib sometimes closes a data connection without using it."""
        chunk = self._data.recv(min(self._remaining, _CHUNK_BYTES))
        while not chunk and self._attempts:
            self._attempts -= 1
            self.close()
            self._begin()
            chunk = self._data.recv(min(self._remaining, _CHUNK_BYTES))
        self._attempts = 0  # after the first bytes, a restart would repeat them
        return chunk

    def _finish(self):
        """Keep the connection if the server has nothing more to send; else close it."""
        if self._is_rest:
            with contextlib.suppress(*ftplib.all_errors):
                self._data.close()
                self._connection.voidresp()
                self._store.connections.give_back(self._connection)
                self._connection = None
        self.close()

    def close(self):
        connection, self._connection = self._connection, None
        if self._data is not None:
            self._data.close()
        if connection is not None:
            connection.close()


def _code(error):
    """The reply code in an error of ftplib; None if there was no reply."""
    text = str(error)[:3]
    return text if isinstance(error, ftplib.Error) and text.isdigit() else None


def _is_readable(connection):
    poll = select.poll()
    poll.register(connection.sock, select.POLLIN)
    return bool(poll.poll(0))


def _modified(facts):
    """The time of the last write in seconds since the epoch (RFC 3659, section 2.3)."""
    return calendar.timegm(time.strptime(facts["modify"][:14], "%Y%m%d%H%M%S"))
