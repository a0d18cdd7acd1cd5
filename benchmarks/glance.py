"""Runs Glance for the comparison, if ``GLANCE_VENV`` is the path of a virtual environment with it:

    python3 -m venv /tmp/glance && /tmp/glance/bin/pip install glance uwsgi pymysql
    GLANCE_VENV=/tmp/glance make bench

Glance runs as its documentation recommends: under uWSGI with four processes, each of which serves
one request at a time. Its database is MariaDB if mariadbd is installed, otherwise SQLite. Instead
of Keystone's middleware, the client sends the identity headers, which Glance's own context filter
trusts. The images are on the same file system as those of the other servers.
"""

import configparser
import contextlib
import os
import pathlib
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

import memory
import targets

from tests import databases

PROCESSES = 4
HEADERS = {
    "X-Identity-Status": "Confirmed",
    "X-User-Id": "bench",
    "X-Project-Id": "bench",
    "X-Roles": "admin,member,reader",
}
_CONFIG = """
[DEFAULT]
enabled_backends = fast:file
hashing_algorithm = {algorithm}
[database]
connection = {database}
[glance_store]
default_backend = fast
[fast]
filesystem_store_datadir = {place}/images
[os_glance_staging_store]
filesystem_store_datadir = {place}/staging
[os_glance_tasks_store]
filesystem_store_datadir = {place}/tasks
[oslo_concurrency]
lock_path = {place}
[paste_deploy]
config_file = {place}/glance-api-paste.ini
flavor = bench
"""
_UWSGI = (
    f"--master --lazy-apps --enable-threads --die-on-term --thunder-lock --processes {PROCESSES} "
    "--socket-timeout 10 --buffer-size 65535 --http-auto-chunked --http-chunked-input "
    "--http-raw-body --module glance.wsgi.api:application"
)


@contextlib.contextmanager
def running(place: pathlib.Path, algorithm: str) -> Iterator[targets.Target | None]:
    """Glance with its files in the directory ``place``; None if GLANCE_VENV is not set.

    ``algorithm`` is that of os_hash_value; Glance always computes MD5 as well.
    """
    if "GLANCE_VENV" not in os.environ:
        yield None
        return
    venv, port = pathlib.Path(os.environ["GLANCE_VENV"]).absolute(), memory.free_port()
    with _database(place) as database:
        (place / "glance-api.conf").write_text(
            _CONFIG.format(place=place, database=database, algorithm=algorithm)
        )
        _pipeline(venv, place)
        for name in ("images", "staging", "tasks"):
            (place / name).mkdir()
        environment = {"OS_GLANCE_CONFIG_DIR": str(place)}
        _migrate(venv, place, environment)
        command = [str(venv / "bin/uwsgi"), "--http-socket", f"127.0.0.1:{port}"]
        command += ["--virtualenv", str(venv), "--add-header", "Connection: close"]
        command += _UWSGI.split()
        log = place / "log"
        with targets.running(command, log, **environment) as pid:
            target = targets.Target("glance", f"http://127.0.0.1:{port}", pid, HEADERS)
            _wait_until_loaded(target, log)
            yield target


@contextlib.contextmanager
def _database(place: pathlib.Path) -> Iterator[str]:
    """The URL of an empty database."""
    if shutil.which("mariadbd", path=f"{os.environ['PATH']}:/usr/sbin") is None:
        yield f"sqlite:///{place}/glance.sqlite"
        return
    with contextlib.closing(databases.Mariadb()) as server:
        server.start()
        yield server.create()


def _pipeline(venv: pathlib.Path, place: pathlib.Path) -> None:
    """Glance's own pipeline, with the context filter instead of the one that needs no identity."""
    paste = configparser.ConfigParser(interpolation=None)
    paste.optionxform = str  # type: ignore[assignment, method-assign]
    with open(venv / "etc/glance/glance-api-paste.ini") as file:
        paste.read_file(file)
    default = paste["composite:api"]["default"]
    paste["composite:api"]["bench"] = default.replace("unauthenticated-context", "context")
    paste["composite:glance-api-bench"] = dict(paste["composite:glance-api"])
    with open(place / "glance-api-paste.ini", "w") as file:
        paste.write(file)


def _migrate(venv: pathlib.Path, place: pathlib.Path, environment: Mapping[str, str]) -> None:
    command = [venv / "bin/glance-manage", "--config-dir", place, "db_sync"]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, **environment})


def _wait_until_loaded(target: targets.Target, log: pathlib.Path) -> None:
    """Send requests until each process has most likely served one: the first loads the code."""
    targets.wait_until_up(target, log)
    for _ in range(5 * PROCESSES):
        with contextlib.closing(target.connect()) as connection:
            target.call(connection, "GET", "/v2/images?limit=1")
        time.sleep(0.05)
