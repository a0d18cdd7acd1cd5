"""Real PostgreSQL and MariaDB servers: of the tests' own, on loopback, gone with the tests.

Both are set up as our columns should not need it: sorting by a language's rules,
in Latin 1, and (MariaDB) cutting off what is too long.
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
from imsgate.registry.tables import METADATA
from tests import markers
from tests.functional.conftest import needs
from tests.functional.gateway import HOST, PATIENCE, clean_env, eventually, free_port


class Server(abc.ABC):
    """One database server. It keeps its port and its data when it is started again."""

    #: For ids of tests.
    NAME: ClassVar[str]
    #: What ends it at once, its clients notwithstanding.
    END: ClassVar[signal.Signals]

    def __init__(self) -> None:
        """Skips, or on CI fails, where the server is not installed."""
        needs(shutil.which("setpriv"), "setpriv")
        self.program = self._find()
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        # Not pytest's directory, into which no other user may look.
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="imsgate-db-"))
        if os.getuid() == 0:
            shutil.chown(self.directory, "nobody", "nogroup")
        self._made = 0

    @abc.abstractmethod
    def _find(self) -> str: ...

    @abc.abstractmethod
    def _prepare(self) -> None:
        """Make the data directory."""

    @abc.abstractmethod
    def _command(self) -> list[str]: ...

    @abc.abstractmethod
    def url(self, database: str = "") -> str: ...

    def _run_as(self) -> list[str]:
        """Neither runs as root, and neither outlives the tests, however these end."""
        someone = ["--reuid=nobody", "--regid=nogroup", "--clear-groups"]
        return ["setpriv", "--pdeathsig=KILL", *(someone if os.getuid() == 0 else [])]

    def start(self) -> None:
        """Returns when it can be connected to."""
        markers.require(self.NAME)
        if not (self.directory / "data").exists():
            self._prepare()
        with open(self.directory / "log", "ab") as log:
            self.process = subprocess.Popen(
                [*self._run_as(), *self._command()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
                env=clean_env(self.directory),
            )
        eventually(self._answers, f"{self.NAME} answers: see {self.directory}/log")

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.directory / "log").read_text()[-4000:]
        with contextlib.suppress(sa.exc.OperationalError):
            self.execute("SELECT 1")
            return True
        return False

    def stop(self) -> None:
        """Cuts off every client."""
        if self.process is not None:
            self.process.send_signal(self.END)
            self.process.wait(PATIENCE)
            self.process = None

    def close(self) -> None:
        """End it, and remove all it kept."""
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
        """The URL of a new, empty database."""
        self._made += 1
        name = f"imsgate_{self._made}"
        self.execute(f"CREATE DATABASE {name}")
        return self.url(name)


class Postgresql(Server):
    NAME = "postgresql"
    END = signal.SIGINT

    def _find(self) -> str:
        versions = pathlib.Path("/usr/lib/postgresql").glob("*/bin/postgres")
        newest = max(versions, key=lambda path: int(path.parts[-3]), default=None)
        found = str(newest) if newest else shutil.which("postgres")
        needs(found, "PostgreSQL's server")
        assert found
        return found

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
        given = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
        return [self.program, "-D", str(self.directory / "data"), "-p", str(self.port), *given]

    def url(self, database: str = "postgres") -> str:
        return f"postgresql+psycopg://imsgate@{HOST}:{self.port}/{database}"


class Mariadb(Server):
    NAME = "mariadb"
    END = signal.SIGTERM

    def _find(self) -> str:
        found = shutil.which("mariadbd", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
        needs(found, "MariaDB's server")
        assert found
        return found

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
            # Without users: they would be tables, which take their time to make.
            *("--skip-grant-tables", "--innodb-stats-persistent=0", "--skip-name-resolve"),
            *("--character-set-server=latin1", "--sql-mode=", "--skip-log-bin"),
            *("--innodb-flush-log-at-trx-commit=0", "--innodb-flush-method=nosync"),
            *("--innodb-log-file-size=16M", "--innodb-buffer-pool-size=32M"),
            "--max-connections=200",
        ]

    def url(self, database: str = "") -> str:
        return f"mysql+pymysql://imsgate@{HOST}:{self.port}/{database}"


def settings(url: str, directory: pathlib.Path) -> Section:
    """The settings of ``[database]`` with this connection, all else by default."""
    file = directory / "imsgate.conf"
    file.write_text(f"[database]\nconnection = {url}\n")
    return Config([str(file)]).section("database", sql.SqlRegistry.OPTS)


class Shared:
    """A migrated database that one test after the other may have."""

    def __init__(self, url: str, directory: pathlib.Path) -> None:
        """``url`` is that of a new database; ``directory`` is for its configuration."""
        self.settings = settings(url, directory)
        sql.upgrade(self.settings)
        self._engine = sa.create_engine(self.settings.connection, pool_pre_ping=True)

    def emptied(self) -> Section:
        """Its settings; every row is deleted, which is much faster than a new database."""
        with self._engine.begin() as connection:
            for table in reversed(METADATA.sorted_tables):
                connection.execute(sa.delete(table))
        return self.settings

    def close(self) -> None:
        self._engine.dispose()
