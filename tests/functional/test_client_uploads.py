"""``imsgate upload`` against a real gateway, whatever happens on the way."""

import contextlib
import hashlib
import pathlib
import random
import re
import signal
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from imsgate.auth import jsonl, token_file
from imsgate.client.connection import Connection
from imsgate.client.progress import Quiet
from imsgate.client.retries import Retries
from imsgate.client.source import FileSource
from imsgate.client.uploading import Offer, Uploader
from tests.client.scripted import Tokens
from tests.functional import huawei, images, programs
from tests.functional import keystone as ks
from tests.functional.commands import Commands, finished, progress
from tests.functional.conftest import needs_program
from tests.functional.cutting import Cutter
from tests.functional.gateway import (
    HOST,
    PATIENCE,
    Gateway,
    clean_env,
    eventually,
    free_port,
    serving,
)
from tests.functional.wire import MIB

SIZE = 12 * MIB
CONFIG = "[jobs]\npoll = 0.2\n"
REFUSED, INTERRUPTED, NOT_ALLOWED = 3, 4, 5


@pytest.fixture(scope="module")
def _server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with serving(Gateway(tmp_path_factory.mktemp("client"), config=CONFIG)) as gateway:
        yield gateway


@pytest.fixture
def server(_server: Gateway) -> Iterator[Gateway]:
    yield _server
    _server.check_log()


@pytest.fixture
def commands(tmp_path: pathlib.Path, server: Gateway) -> Commands:
    return Commands.of(tmp_path, server)


@pytest.fixture
def disk(tmp_path: pathlib.Path) -> pathlib.Path:
    """A raw image of SIZE bytes that cannot be compressed."""
    file = tmp_path / "disk.raw"
    file.write_bytes(random.Random(21).randbytes(SIZE))
    return file


def sha512(file: pathlib.Path) -> str:
    with open(file, "rb") as opened:
        return hashlib.file_digest(opened, "sha512").hexdigest()


def assert_stored(gateway: Gateway, image_id: str, file: pathlib.Path) -> None:
    record = gateway.show(image_id)
    assert (record["status"], record["size"]) == ("active", file.stat().st_size)
    assert record["os_hash_value"] == sha512(file)


def test_the_image_is_printed(server: Gateway, commands: Commands, disk: pathlib.Path) -> None:
    attributes = ("--property", "os_distro=debian", "--tag", "a", "--private", "--min-disk", 3)
    record = commands.json("upload", disk, "--name", "first", *attributes)
    assert_stored(server, record["id"], disk)
    expected = {"name": "first", "disk_format": "raw", "container_format": "bare", "tags": ["a"]}
    expected |= {"os_distro": "debian", "visibility": "private", "min_disk": 3}
    assert expected.items() <= record.items()
    done = commands.run("upload", disk)
    assert (done.returncode, done.stderr) == (0, "")
    lines = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    assert (lines["name"], lines["status"]) == ("disk.raw", "active")
    assert commands.json("uploads") == []


@pytest.mark.parametrize(
    ("name", "content", "options", "words"),
    [
        ("backing", images.BACKING_FILE, (), ("backing_file at byte 8", "refuse: qcow2")),
        ("mismatch", images.qcow2(), ("--disk-format", "raw"), ("the content is qcow2",)),
        ("elf", b"\x7fELF" + bytes(1020), (), ("format at byte 0: the content is elf",)),
        ("odd", b"x" * 1000, (), ("are not a multiple of 512",)),
    ],
)
def test_a_bad_image_is_refused_before_anything_is_created(
    server: Gateway,
    commands: Commands,
    tmp_path: pathlib.Path,
    name: str,
    content: bytes,
    options: tuple[str, ...],
    words: tuple[str, ...],
) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    done = commands.run("upload", file, *options)
    assert (done.returncode, done.stdout) == (REFUSED, "")
    assert all(word in done.stderr for word in words), done.stderr
    if not any("multiple" in word for word in words):
        inspected = commands.run("inspect", file, *options)
        assert done.stderr == f"imsgate: {inspected.stdout}"
    assert server.call("GET", f"/v2/images?name={name}").json["images"] == []


def test_the_server_refuses_what_was_not_inspected(
    server: Gateway, commands: Commands, tmp_path: pathlib.Path
) -> None:
    file = tmp_path / "hostile"
    file.write_bytes(images.BACKING_FILE)
    done = commands.run("upload", file, "--no-inspection", "--disk-format", "qcow2")
    assert done.returncode == REFUSED, done.stderr
    assert "The image was refused (backing_file at byte 8)" in done.stderr
    assert server.call("GET", "/v2/images?name=hostile").json["images"] == []
    assert commands.json("uploads") == []


def test_a_stream(server: Gateway, commands: Commands, disk: pathlib.Path) -> None:
    words = ("upload", "-", "--name", "piped", "--part-size", "4M", "--json")
    with open(disk, "rb") as stream:
        uncertain = commands.start(*words, stdin=stream)
        assert finished(uncertain)[0] == 1
        stream.seek(0)
        certain = commands.start(*words, "--disk-format", "raw", stdin=stream)
        assert finished(certain) == (0, "")
    (record,) = server.call("GET", "/v2/images?name=piped").json["images"]
    assert_stored(server, record["id"], disk)


def test_an_existing_image(server: Gateway, commands: Commands, disk: pathlib.Path) -> None:
    image_id = server.create(disk_format="raw")
    assert commands.json("upload", disk, "--image", image_id)["id"] == image_id
    assert_stored(server, image_id, disk)
    done = commands.run("upload", disk, "--image", image_id)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"image {image_id} is active, but must be queued" in done.stderr
    assert server.status(image_id) == "active"


def test_an_upload_that_is_cut_goes_on(
    server: Gateway, commands: Commands, disk: pathlib.Path
) -> None:
    cuts = sorted(random.Random(21).sample(range(16384, SIZE), 8))
    with Cutter(server.port, cuts) as proxy:
        record = commands.at(proxy.url).json("upload", disk, "--no-compression")
    assert proxy.made == len(cuts)
    assert_stored(server, record["id"], disk)
    assert proxy.forwarded - SIZE < 2 * MIB


def test_a_proxy_that_times_out(server: Gateway, commands: Commands, disk: pathlib.Path) -> None:
    """It answers 504 in the middle of a request, as soon as that takes too long."""
    answer = b"HTTP/1.1 504 Gateway Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    cuts = range(5 * MIB, SIZE, 5 * MIB)
    with Cutter(server.port, cuts, answer=answer) as proxy:
        record = commands.at(proxy.url).json("upload", disk, "--no-compression")
    assert proxy.made == len(cuts)
    assert_stored(server, record["id"], disk)


def test_the_last_response_is_lost(server: Gateway, commands: Commands, disk: pathlib.Path) -> None:
    with Cutter(server.port, lost=b"upload-offset: %d\r\n" % SIZE) as proxy:
        record = commands.at(proxy.url).json("upload", disk)
    assert proxy.dropped
    assert_stored(server, record["id"], disk)


def test_holes_cost_nothing(server: Gateway, commands: Commands, tmp_path: pathlib.Path) -> None:
    """512 MiB, of which 12 MiB are allocated, on several requests."""
    disk = tmp_path / "sparse.raw"
    with open(disk, "wb") as file:
        file.truncate(512 * MIB)
        for number in range(24):
            file.seek(number * 20 * MIB + 4096)
            file.write(random.Random(number).randbytes(MIB // 2))
    allocated = disk.stat().st_blocks * 512
    with Cutter(server.port) as proxy:
        record = commands.at(proxy.url).json("upload", disk, "--part-size", "8M")
    # The command has compared the digests. To compute it again takes seconds.
    assert (record["status"], record["size"]) == ("active", 512 * MIB)
    assert proxy.forwarded < allocated * 1.02


@contextlib.contextmanager
def limiting(directory: pathlib.Path, upstream: int) -> Iterator[str]:
    """nginx with a limit of 10 MB for a body, as many deployments have it."""
    nginx, port = needs_program("nginx"), free_port()
    places = "".join(
        f"{name}_temp_path {directory}/{name};"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    server = (
        f"listen {HOST}:{port}; client_max_body_size 10000000; "
        f"location / {{ proxy_pass http://{HOST}:{upstream}; proxy_http_version 1.1; "
        "proxy_set_header Host $http_host; proxy_request_buffering off; }"
    )
    conf = directory / "nginx.conf"
    conf.write_text(
        f"daemon off; master_process off; pid {directory}/pid; error_log stderr;\n"
        f"events {{}}\nhttp {{ access_log off; {places} server {{ {server} }} }}\n"
    )
    command = [nginx, "-c", str(conf), "-p", str(directory)]
    process = programs.spawn(command, directory / "nginx.log", clean_env(directory))
    try:
        eventually(lambda: _listens(port), "nginx listens")
        yield f"http://{HOST}:{port}"
    finally:
        process.terminate()
        process.wait(PATIENCE)


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((HOST, port), timeout=5):
        return True
    return False


@pytest.mark.parametrize("options", [(), ("--no-compression",)], ids=["default", "plain"])
def test_a_proxy_that_limits_bodies(
    server: Gateway,
    commands: Commands,
    disk: pathlib.Path,
    tmp_path: pathlib.Path,
    options: tuple[str, ...],
) -> None:
    with limiting(tmp_path, server.port) as url:
        done = commands.at(url).run("upload", disk, "--name", f"limited{options}", *options)
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if "413" in line]
    assert re.search(r"continuing with [56]\d\d\d KiB per request$", line)
    (record,) = server.call("GET", f"/v2/images?name=limited{options}".replace("'", "%27")).json[
        "images"
    ]
    assert_stored(server, record["id"], disk)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_client_that_dies(
    server: Gateway, commands: Commands, disk: pathlib.Path, how: signal.Signals
) -> None:
    with Cutter(server.port, hold=SIZE // 2) as proxy:
        there = commands.at(proxy.url)
        process = there.start("upload", disk, "--part-size", "4M", "--no-compression")
        assert proxy.held.wait(PATIENCE)
        process.send_signal(how)
        status, said = finished(process)
        proxy.release()
        (unfinished,) = there.json("uploads")
        image_id = unfinished["image_id"]
        assert (unfinished["path"], unfinished["size"]) == (str(disk), SIZE)
        assert unfinished["received"] >= SIZE // 2 - 4 * MIB
        if how is signal.SIGINT:
            assert status == INTERRUPTED
            assert "run the same command again" in said
            assert image_id in said
        assert there.json("upload", disk, "--no-compression")["id"] == image_id
    assert_stored(server, image_id, disk)
    assert proxy.forwarded < SIZE + 5 * MIB
    assert there.json("uploads") == []


def test_a_server_that_dies(
    start: Callable[..., Gateway], tmp_path: pathlib.Path, disk: pathlib.Path
) -> None:
    gateway = start(CONFIG)
    commands = Commands.of(tmp_path, gateway)
    with Cutter(gateway.port, hold=SIZE // 2) as proxy:
        words = ("upload", disk, "--part-size", "4M", "--no-compression", "--json")
        process = commands.at(proxy.url).start(*words)
        assert proxy.held.wait(PATIENCE)
        gateway.kill()
        gateway.start()
        proxy.release()
        assert finished(process)[0] == 0
    (record,) = gateway.call("GET", "/v2/images").json["images"]
    assert_stored(gateway, record["id"], disk)
    assert proxy.forwarded < SIZE + 10 * MIB


def test_a_file_that_has_changed_is_uploaded_anew(
    server: Gateway, commands: Commands, disk: pathlib.Path
) -> None:
    with Cutter(server.port, hold=SIZE // 2) as proxy:
        there = commands.at(proxy.url)
        process = there.start("upload", disk, "--part-size", "4M", "--no-compression")
        assert proxy.held.wait(PATIENCE)
        process.kill()
        finished(process)
        proxy.release()
        (before,) = there.json("uploads")
        disk.write_bytes(random.Random(22).randbytes(SIZE // 2))
        after = there.json("upload", disk)
    assert after["id"] != before["image_id"]
    assert_stored(server, after["id"], disk)
    gone = server.call("GET", f"/v2/images/{before['image_id']}")
    assert gone.status == 404
    assert there.json("uploads") == []


def test_an_upload_is_canceled(server: Gateway, commands: Commands, disk: pathlib.Path) -> None:
    with Cutter(server.port, hold=SIZE // 2) as proxy:
        there = commands.at(proxy.url)
        process = there.start("upload", disk, "--part-size", "4M", "--no-compression")
        assert proxy.held.wait(PATIENCE)
        second = there.run("upload", disk)
        assert (second.returncode, second.stdout) == (1, "")
        assert "another process is uploading" in second.stderr
        process.kill()
        finished(process)
        proxy.release()
        (unfinished,) = there.json("uploads")
        assert there.run("uploads", "cancel", unfinished["image_id"]).returncode == 0
    assert server.call("GET", f"/v2/images/{unfinished['image_id']}").status == 404
    assert server.residue(unfinished["image_id"]) == []
    assert commands.run("uploads").stdout == ""
    again = commands.run("uploads", "cancel", unfinished["image_id"])
    assert (again.returncode, again.stdout) == (1, "")


def test_progress_for_programs(server: Gateway, commands: Commands, disk: pathlib.Path) -> None:
    done = commands.run("upload", disk, "--no-compression", "--progress", "json")
    assert done.returncode == 0
    lines = progress(done.stderr)
    assert lines[0] | {"image_id": None} == {
        **{"image_id": None, "phase": "Uploading", "total": SIZE, "done": 0, "wire": 0, "rate": 0}
    }
    assert (lines[-1]["done"], lines[-1]["wire"]) == (SIZE, SIZE)
    assert server.status(lines[-1]["image_id"]) == "active"


def test_credentials_that_are_not_valid(commands: Commands, disk: pathlib.Path) -> None:
    done = commands.run("upload", disk, OS_TOKEN="wrong")
    assert done.returncode == NOT_ALLOWED
    assert commands.json("uploads") == []
    nothing = Commands(commands.directory, commands.url, None).run("upload", disk)
    assert nothing.returncode == NOT_ALLOWED
    assert "no usable credentials" in nothing.stderr


def test_a_token_that_is_revoked_on_the_way(
    server: Gateway, tmp_path: pathlib.Path, disk: pathlib.Path
) -> None:
    """The next request gets a new one."""
    path, user = str(server.state / "tokens"), {"user": "renewing", "project": "demo"}
    old, new = (token_file.add(path, **user, roles=["member", "reader"]) for _ in range(2))
    image_id = server.create(token=new)
    with Cutter(server.port, hold=SIZE // 2) as proxy, contextlib.ExitStack() as opened:
        tokens = Tokens(proxy.url, old, new)
        connection = opened.enter_context(contextlib.closing(Connection(tokens, Retries(60))))
        source = opened.enter_context(contextlib.closing(FileSource(str(disk))))
        uploader = Uploader(connection, image_id, source, Quiet(None), part_bytes=4 * MIB)
        assert uploader.create()
        sending = opened.enter_context(ThreadPoolExecutor(1)).submit(
            uploader.append_all, 0, Offer(resumable=True)
        )
        assert proxy.held.wait(PATIENCE)
        assert token_file.remove(path, jsonl.digest(old))
        proxy.release()
        sending.result(PATIENCE)
        assert not tokens.renew()
    assert_stored(server, image_id, disk)


def test_clouds_yaml(
    stack: ks.StackGateway, keystone: ks.Keystone, tmp_path: pathlib.Path, disk: pathlib.Path
) -> None:
    keystone.clouds(tmp_path / "clouds.yaml")
    commands = Commands(tmp_path, stack.url, None)
    there = {"OS_CLIENT_CONFIG_FILE": str(tmp_path / "clouds.yaml")}
    record = commands.json("upload", disk, "--cloud", "demo", "--store", "archive", **there)
    assert_stored(stack, record["id"], disk)
    assert (record["owner"], record["stores"]) == (keystone.id("project", "demo"), "archive")
    done = commands.run("upload", disk, "--cloud", "reader", **there)
    assert done.returncode == NOT_ALLOWED, done.stderr


def test_access_keys(tmp_path: pathlib.Path, disk: pathlib.Path) -> None:
    gateway = Gateway(tmp_path, config=CONFIG + "[paste_deploy]\nflavor = tokens+aksk\n")
    issued = huawei.add_key(gateway, "demo", temporary=True)
    commands = Commands(tmp_path, gateway.url, None)
    key = {
        "HUAWEICLOUD_SDK_AK": issued.access,
        "HUAWEICLOUD_SDK_SK": issued.secret,
        "HUAWEICLOUD_SDK_SECURITY_TOKEN": str(issued.token),
        "OS_ENDPOINT": gateway.url,
    }
    with serving(gateway):
        record = commands.json("upload", disk, **key)
        assert_stored(gateway, record["id"], disk)
        assert record["owner"] == "demo"
        wrong = commands.run("upload", disk, **{**key, "HUAWEICLOUD_SDK_SK": "wrong"})
    assert wrong.returncode == NOT_ALLOWED, wrong.stderr
