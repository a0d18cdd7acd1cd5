"""Gateways, an S3 bucket and a Keystone for all tests; skips for what a machine lacks."""

import contextlib
import os
import pathlib
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import pytest

from tests.functional import browser as browsers
from tests.functional import glance as glances
from tests.functional import keystone as ks
from tests.functional.gateway import BIN, Gateway, serving
from tests.stores.s3 import servers

#: Imports may come from this host, and start at once.
NEAR = """
[import_filtering_opts]
allowed_ports = []

[web_download]
allowed_networks = 127.0.0.1/32

[jobs]
poll = 0.2
"""

#: Several stores, and limits that a test can reach.
STRICT = """
[DEFAULT]
enabled_backends = fast:file, archive:file, shaky:file

[glance_store]
default_backend = fast

[fast]
filesystem_store_datadir = {state}/fast
store_description = NVMe
weight = 10

[archive]
filesystem_store_datadir = {state}/archive

[shaky]
filesystem_store_datadir = {state}/shaky

[sizelimit]
image_size_cap = 67108864
"""

CAP = 64 << 20

#: The WSGI servers that every test of broken bodies runs against.
SERVERS = ("embedded", "cheroot", "uwsgi")

framing = pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])

AnyGateway = TypeVar("AnyGateway", bound=Gateway)


def needs(present: object, what: str) -> None:
    """Skip the test if this machine lacks something; fail it on CI."""
    if not present:
        if os.environ.get("CI") == "true":
            pytest.fail(f"this machine lacks {what}")
        pytest.skip(f"needs {what}")


def needs_program(name: str) -> str:
    path = shutil.which(name, path=f"{BIN}:{os.environ.get('PATH', os.defpath)}")
    needs(path, name)
    assert path
    return path


@contextlib.contextmanager
def mounted(directory: pathlib.Path, size: str) -> Iterator[pathlib.Path]:
    """A small file system, which is made and mounted there."""
    needs(os.geteuid() == 0, "root, to mount a small file system")
    directory.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", directory],
        check=False,
        capture_output=True,
    )
    needs(done.returncode == 0, f"the right to mount: {done.stderr.decode()}")
    try:
        yield directory
    finally:
        subprocess.run(["umount", directory], check=True)


@pytest.fixture(scope="session")
def _default(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with serving(Gateway(tmp_path_factory.mktemp("default"))) as gateway:
        yield gateway


@pytest.fixture(scope="session")
def _strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with serving(Gateway(tmp_path_factory.mktemp("strict"), config=STRICT)) as gateway:
        yield gateway


def _watched(gateway: AnyGateway) -> Iterator[AnyGateway]:
    """Yield the gateway, and check its log after each test, so that the right one fails."""
    yield gateway
    gateway.check_log()


@pytest.fixture(scope="module", params=SERVERS)
def _any_server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    if request.param == "uwsgi":
        needs_program("uwsgi")
    directory = tmp_path_factory.mktemp(request.param)
    with serving(Gateway(directory, config=STRICT, server=request.param)) as gateway:
        yield gateway


@pytest.fixture
def any_server(_any_server: Gateway) -> Iterator[Gateway]:
    """Each WSGI server in turn, with the same configuration as ``strict``."""
    yield from _watched(_any_server)


@pytest.fixture
def gateway(_default: Gateway) -> Iterator[Gateway]:
    """A gateway without any configuration, as at its first start."""
    yield from _watched(_default)


@pytest.fixture
def strict(_strict: Gateway) -> Iterator[Gateway]:
    """A gateway with the stores ``fast`` (default), ``archive`` and ``shaky``, and a size limit."""
    yield from _watched(_strict)


@pytest.fixture
def start(tmp_path: pathlib.Path) -> Iterator[Callable[..., Gateway]]:
    """Start gateways for one test. At its end, they are stopped and their logs are checked."""
    with contextlib.ExitStack() as started:

        def begin(config: str = "", keystone: ks.Keystone | None = None, **options: Any) -> Gateway:
            directory = pathlib.Path(tempfile.mkdtemp(dir=tmp_path))
            if keystone is None:
                return started.enter_context(serving(Gateway(directory, config=config, **options)))
            config += ks.config(keystone)
            made = ks.StackGateway(directory, keystone, config=config, **options)
            return started.enter_context(serving(made))

        yield begin


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Bucket]:
    """A bucket on an S3 server (SeaweedFS) of this module's own."""
    home = tmp_path_factory.mktemp("seaweed")
    with servers.running(servers.seaweed(home)) as server, servers.bucket(server) as made:
        yield made


@pytest.fixture(scope="session")
def keystone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ks.Keystone]:
    """A real Keystone with the users ``admin``, ``demo``, ``reader``, ``alt`` and ``svc``."""
    needs(ks.AVAILABLE, "the Python package keystone")
    server = ks.Keystone(tmp_path_factory.mktemp("keystone"))
    try:
        yield server.start()
    finally:
        server.stop()


@pytest.fixture(scope="session")
def _stack(
    keystone: ks.Keystone, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ks.StackGateway]:
    directory = tmp_path_factory.mktemp("stack")
    conf = STRICT + NEAR + ks.config(keystone)
    with serving(ks.StackGateway(directory, keystone, config=conf)) as gateway:
        keystone.register(gateway.url)
        yield gateway


@pytest.fixture
def stack(_stack: ks.StackGateway) -> Iterator[ks.StackGateway]:
    """The ``keystone`` flavor with the stores of ``strict``, in Keystone's catalog."""
    yield from _watched(_stack)


@pytest.fixture(scope="session")
def _glances(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[glances.Glance, glances.Glance]]:
    yield from glances.start(tmp_path_factory.mktemp("glance"))


@pytest.fixture
def glance(_glances: tuple[glances.Glance, glances.Glance]) -> glances.Glance:
    """A real Glance as it comes."""
    return _glances[0]


@pytest.fixture
def filtered(_glances: tuple[glances.Glance, glances.Glance]) -> glances.Glance:
    """The same Glance with the filters in its pipeline. Both share records and data."""
    return _glances[1]


# The page in a browser


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    needs(browsers.HAS_PLAYWRIGHT, "the Python package playwright")
    needs(browsers.PROGRAM, "chromium")
    with browsers.chromium() as browser:
        yield browser


@pytest.fixture
def visit(browser: Any) -> Iterator[Callable[..., browsers.Visit]]:
    """Open windows. At the end, each must have reported no error."""
    with contextlib.ExitStack() as opened:

        def make(**options: Any) -> browsers.Visit:
            made = browsers.Visit(browser, **options)
            opened.callback(made.close)
            return made

        yield make


@pytest.fixture(scope="session")
def _roomy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    conf = STRICT.replace(str(CAP), str(1 << 30)) + NEAR
    # With one process, no job reads again what was uploaded in several requests.
    with serving(Gateway(tmp_path_factory.mktemp("roomy"), config=conf, workers=1)) as gateway:
        yield gateway


@pytest.fixture
def roomy(_roomy: Gateway) -> Iterator[Gateway]:
    """A gateway with the stores of ``strict`` that takes large images, and imports from here."""
    yield from _watched(_roomy)


@pytest.fixture
def project(request: pytest.FixtureRequest) -> str:
    """A project of this test's own, whose list of images is empty."""
    return str(request.node.name)[:60]
