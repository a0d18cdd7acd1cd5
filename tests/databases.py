"""PostgreSQL and MariaDB servers for the tests, on the loopback interface. They end with the tests.

Their defaults are the least favorable ones, which our columns must override: collation by a
language's rules, Latin 1, and (MariaDB) truncation of values that are too long.
"""

import abc
import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
from typing import ClassVar

import sqlalchemy as sa

from imsgate.config import Config, Section
from imsgate.registry import sql
from imsgate.registry.sql import schema
from imsgate.registry.sql.tables import METADATA
from tests import markers
from tests.functional import programs
from tests.functional.conftest import needs
from tests.functional.gateway import HOST, PATIENCE, clean_env, eventually, free_port


class Server(abc.ABC):
    """One database server. It keeps its port and its data across restarts."""

    #: Its marker, too.
    NAME: ClassVar[str]
    #: The signal that stops it at once, even while clients are connected.
    END: ClassVar[signal.Signals]

    def __init__(self) -> None:
        """Skips the test, or fails it on CI, if the server is not installed."""
        needs(shutil.which("setpriv"), "setpriv")
        self.program = self._find()
        self.port = free_port()
        self.process: programs.Server | None = None
        # Not pytest's directory, which other users may not enter.
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="imsgate-db-"))
        if os.getuid() == 0:
            shutil.chown(self.directory, "nobody", "nogroup")
        self._databases = 0

    @abc.abstractmethod
    def _find(self) -> str: ...

    @abc.abstractmethod
    def _prepare(self) -> None:
        """Create the data directory."""

    @abc.abstractmethod
    def _command(self) -> list[str]: ...

    @abc.abstractmethod
    def url(self, database: str = "") -> str: ...

    def _run_as(self) -> list[str]:
        """Neither server runs as root, and neither outlives the tests, however those end."""
        user = ["--reuid=nobody", "--regid=nogroup", "--clear-groups"]
        return ["setpriv", "--pdeathsig=KILL", *(user if os.getuid() == 0 else [])]

    def start(self) -> None:
        """Returns once it accepts connections."""
        markers.require(self.NAME)
        if not (self.directory / "data").exists():
            self._prepare()
        command = [*self._run_as(), *self._command()]
        log, env = self.directory / "log", clean_env(self.directory)
        self.process = programs.spawn(command, log, env)
        eventually(self._answers, f"{self.NAME} answers: see {self.directory}/log")

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.directory / "log").read_text()[-4000:]
        with contextlib.suppress(sa.exc.OperationalError):
            self.execute("SELECT 1")
            return True
        return False

    def stop(self) -> None:
        """Disconnects every client."""
        if self.process is not None:
            self.process.send_signal(self.END)
            self.process.wait(PATIENCE)
            self.process = None

    def close(self) -> None:
        """Stop it and remove its data."""
        try:
            self.stop()
        finally:
            if self.process is not None:
                self.process.kill()
                self.process.wait()
            shutil.rmtree(self.directory, ignore_errors=True)

    def execute(self, statement: str) -> None:
        engine = sa.create_engine(self.url(), poolclass=sa.NullPool, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.exec_driver_sql(statement)

    def create(self) -> str:
        """Create an empty database, and return its URL."""
        self._databases += 1
        name = f"imsgate_{self._databases}"
        self.execute(f"CREATE DATABASE {name}")
        return self.url(name)


class Postgresql(Server):
    NAME = "postgresql"
    END = signal.SIGINT

    def _find(self) -> str:
        versions = pathlib.Path("/usr/lib/postgresql").glob("*/bin/postgres")
        newest = max(versions, key=lambda path: int(path.parts[-3]), default=None)
        program = str(newest) if newest else shutil.which("postgres")
        needs(program, "PostgreSQL's server")
        assert program
        return program

    def _prepare(self) -> None:
        initdb = str(pathlib.Path(self.program).with_name("initdb"))
        command = [initdb, "-D", str(self.directory / "data"), "-U", "imsgate", "-A", "trust"]
        command += ["--no-sync", "--no-instructions", "-E", "UTF8", "--locale=C.UTF-8"]
        command += ["--locale-provider=icu", "--icu-locale=en-US"]
        subprocess.run(
            [*self._run_as(), *command],
            check=True,
            capture_output=True,
            cwd=self.directory,
            env=clean_env(self.directory),
        )

    def _command(self) -> list[str]:
        settings = {
            "listen_addresses": HOST,
            "unix_socket_directories": "",
            "max_connections": 200,
            "shared_buffers": "32MB",
            "fsync": "off",
            "full_page_writes": "off",
            "autovacuum": "off",
            "deadlock_timeout": "50ms",
        }
        options = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
        return [self.program, "-D", str(self.directory / "data"), "-p", str(self.port), *options]

    def url(self, database: str = "postgres") -> str:
        return f"postgresql+psycopg://imsgate@{HOST}:{self.port}/{database}"


class Mariadb(Server):
    NAME = "mariadb"
    END = signal.SIGTERM

    def _find(self) -> str:
        program = shutil.which("mariadbd", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
        needs(program, "MariaDB's server")
        assert program
        return program

    def _prepare(self) -> None:
        data = self.directory / "data"
        data.mkdir()
        if os.getuid() == 0:
            shutil.chown(data, "nobody", "nogroup")

    def _command(self) -> list[str]:
        directory = self.directory
        return [
            *(self.program, "--no-defaults", f"--datadir={directory}/data"),
            *(f"--bind-address={HOST}", f"--port={self.port}", f"--socket={directory}/socket"),
            # Without users, whose tables take long to create.
            *("--skip-grant-tables", "--innodb-stats-persistent=0", "--skip-name-resolve"),
            *("--character-set-server=latin1", "--sql-mode=", "--skip-log-bin"),
            *("--innodb-flush-log-at-trx-commit=0", "--innodb-flush-method=nosync"),
            *("--innodb-log-file-size=16M", "--innodb-buffer-pool-size=32M"),
            "--max-connections=200",
        ]

    def url(self, database: str = "") -> str:
        return f"mysql+pymysql://imsgate@{HOST}:{self.port}/{database}"


def settings(url: str, directory: pathlib.Path) -> Section:
    """The settings of ``[database]`` with this connection and defaults otherwise."""
    file = directory / "imsgate.conf"
    file.write_text(f"[database]\nconnection = {url}\n")
    return Config([str(file)]).section("database", sql.SqlRegistry.OPTS)


class Shared:
    """A migrated database that tests use one after another."""

    def __init__(self, url: str, directory: pathlib.Path) -> None:
        """``url`` is that of an empty database; ``directory`` is for its configuration."""
        self.settings = settings(url, directory)
        schema.upgrade(self.settings)
        self._engine = sa.create_engine(self.settings.connection, pool_pre_ping=True)

    def emptied(self) -> Section:
        """Delete every row, which is much faster than a new database, and return its settings."""
        with self._engine.begin() as connection:
            for table in reversed(METADATA.sorted_tables):
                connection.execute(sa.delete(table))
        return self.settings

    def close(self) -> None:
        self._engine.dispose()
