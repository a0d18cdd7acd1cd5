"""The page at /ui/ in a real Chromium, in front of a real gateway."""

import contextlib
import hashlib
import pathlib
import random
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from imsgate.auth import token_file
from tests.functional import browser as browsers
from tests.functional.conftest import NEAR, STRICT, needs, needs_program
from tests.functional.cutting import Cutter
from tests.functional.gateway import Gateway, eventually, serving
from tests.functional.wire import MIB

CONFIG = STRICT.replace("67108864", "1073741824") + NEAR

Visitor = Callable[..., browsers.Visit]


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    needs(browsers.HAS_PLAYWRIGHT, "the Python package playwright")
    needs(browsers.PROGRAM, "chromium")
    with browsers.chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def _server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with serving(Gateway(tmp_path_factory.mktemp("page"), config=CONFIG)) as gateway:
        yield gateway


@pytest.fixture
def server(_server: Gateway) -> Iterator[Gateway]:
    yield _server
    _server.check_log()


@pytest.fixture
def visit(browser: Any) -> Iterator[Visitor]:
    """Open windows. At the end, each must have reported no error."""
    with contextlib.ExitStack() as opened:

        def make(**options: Any) -> browsers.Visit:
            made = browsers.Visit(browser, **options)
            opened.callback(made.close)
            return made

        yield make


@pytest.fixture
def project(request: pytest.FixtureRequest) -> str:
    """A project of this test's own, whose list of images is empty."""
    return str(request.node.name)[:60]


def raw_disk(directory: pathlib.Path, name: str, size: int = 3 * MIB) -> pathlib.Path:
    file = directory / name
    file.write_bytes(random.Random(name).randbytes(size))
    return file


@pytest.fixture(scope="module")
def qcow2(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A qcow2 of 300 MiB, with some data in each MiB."""
    file = tmp_path_factory.mktemp("qcow2") / "debian.qcow2"
    options = ["-q", "-f", "qcow2", "-o", "preallocation=falloc", str(file), "300M"]
    subprocess.run([needs_program("qemu-img"), "create", *options], check=True)
    noise = random.Random(21)
    with open(file, "r+b") as disk:
        for place in range(2 * MIB, 300 * MIB, MIB):
            disk.seek(place)
            disk.write(noise.randbytes(4096))
    assert file.stat().st_size >= 300 * MIB
    return file


def images_of(server: Gateway, project: str) -> list[dict[str, Any]]:
    answer = server.call("GET", "/v2/images", token=server.token(project))
    listed: list[dict[str, Any]] = answer.json["images"]
    return listed


def assert_stored(server: Gateway, project: str, file: pathlib.Path) -> dict[str, Any]:
    """There is an active image with the name and the data of the file."""
    (record,) = (image for image in images_of(server, project) if image["name"] == file.stem)
    with open(file, "rb") as data:
        assert record["os_hash_value"] == hashlib.file_digest(data, "sha512").hexdigest()
    assert (record["status"], record["size"]) == ("active", file.stat().st_size)
    return record


def test_a_cut_upload_goes_on_after_a_reload(
    server: Gateway, visit: Visitor, qcow2: pathlib.Path, project: str
) -> None:
    """From the last byte that was stored, in the browser that knows which file it was."""
    token, size = server.token(project), qcow2.stat().st_size
    # From 100 MiB on, the network breaks after each MiB, so that it cannot complete by itself.
    cuts = [place * MIB for place in range(100, 400)]
    with Cutter(server.port, cuts) as proxy:
        window = visit()
        window.open(proxy.url, token)
        window.drop(qcow2)
        card = window.card(qcow2)
        assert card.get_by_label("Name").input_value() == "debian"
        assert card.get_by_label("Disk format").input_value() == "qcow2"
        card.get_by_role("button", name="Upload").click()
        card.get_by_text("The server cannot be reached. Trying again").wait_for()
        assert window.page.evaluate("JSON.stringify(localStorage)").count(token) == 0
        window.page.reload()
        proxy.heal()
        window.sign_in(token)
        window.page.get_by_text("goes on where it was").wait_for()
        assert window.page.locator("#unfinished li").all_inner_texts() == [
            "debian.qcow2 (300 MiB) Cancel"
        ]
        window.choose(qcow2)
        window.wait_until(qcow2, "done")
        assert not window.page.locator("#unfinished").is_visible()
    record = assert_stored(server, project, qcow2)
    assert record["disk_format"] == "qcow2"
    assert proxy.forwarded - size < size // 20, "little was sent twice"


def test_a_hostile_image_is_refused_with_a_hint(
    server: Gateway, visit: Visitor, tmp_path: pathlib.Path, project: str
) -> None:
    hostile = tmp_path / "hostile.qcow2"
    options = ["-q", "-f", "qcow2", "-u", "-b", "/etc/passwd", "-F", "raw", str(hostile), "1G"]
    subprocess.run([needs_program("qemu-img"), "create", *options], check=True)
    window = visit()
    window.open(server.url, server.token(project))
    window.choose(hostile)
    card = window.card(hostile)
    card.get_by_role("button", name="Upload").click()
    window.wait_until(hostile, "refused")
    shown = card.get_by_role("alert").inner_text()
    assert "backing file" in shown
    assert "What you can do: " in shown
    assert "qemu-img" in shown
    assert "Check: backing_file" in shown
    assert images_of(server, project) == []
    # Something else can be tried at once.
    assert card.get_by_label("Name").is_enabled()


def test_a_wrong_format_can_be_corrected(
    server: Gateway, visit: Visitor, tmp_path: pathlib.Path, project: str
) -> None:
    disk = raw_disk(tmp_path, "plain.img")
    window = visit()
    window.open(server.url, server.token(project))
    window.choose(disk)
    card = window.card(disk)
    card.get_by_label("Disk format").select_option("qcow2")
    card.get_by_role("button", name="Upload").click()
    window.wait_until(disk, "refused")
    assert "the declared format is qcow2" in card.get_by_role("alert").inner_text()
    card.get_by_label("Disk format").select_option("raw")
    card.get_by_label("Store").select_option("archive")
    card.get_by_role("button", name="Upload").click()
    window.wait_until(disk, "done")
    assert assert_stored(server, project, disk)["stores"] == "archive"


def test_two_files_at_once_one_of_them_paused(
    server: Gateway, visit: Visitor, tmp_path: pathlib.Path, project: str
) -> None:
    disks = [raw_disk(tmp_path, name, 40 * MIB) for name in ("one.raw", "two.raw")]
    # The first one to send 20 MiB waits for its turn to go on.
    with Cutter(server.port, [place * MIB for place in range(20, 120)]) as proxy:
        window = visit()
        window.open(proxy.url, server.token(project))
        window.drop(*disks)
        window.button("Upload all").click()
        for disk in disks:
            window.wait_until(disk, "waiting")
        window.button("Pause one.raw").click()
        window.wait_until(disks[0], "paused")
        proxy.heal()
        window.wait_until(disks[1], "done")
        window.button("Go on one.raw").click()
        window.wait_until(disks[0], "done")
        for disk in disks:
            assert_stored(server, project, disk)
        assert sorted(window.names()) == ["one", "two"]


def test_an_upload_is_cancelled(
    server: Gateway, visit: Visitor, tmp_path: pathlib.Path, project: str
) -> None:
    disk = raw_disk(tmp_path, "unwanted.raw", 40 * MIB)
    with Cutter(server.port, [place * MIB for place in range(20, 60)]) as proxy:
        window = visit()
        window.open(proxy.url, server.token(project))
        window.choose(disk)
        window.button("Upload").click()
        window.wait_until(disk, "waiting")
        proxy.heal()
        window.button("Cancel unwanted.raw").click()
        window.card(disk).wait_for(state="detached")
    assert images_of(server, project) == []
    assert not window.page.locator("#unfinished").is_visible()


def test_a_token_that_is_revoked_is_asked_for_again(
    server: Gateway, visit: Visitor, tmp_path: pathlib.Path, project: str
) -> None:
    """And then everything goes on."""
    disk = raw_disk(tmp_path, "long.raw", 40 * MIB)
    tokens = str(server.state / "tokens")
    token = token_file.add(tokens, user="u", project=project, roles=["member"])
    with Cutter(server.port, [place * MIB for place in range(20, 60)]) as proxy:
        window = visit()
        window.open(proxy.url, token)
        window.choose(disk)
        window.button("Upload").click()
        window.wait_until(disk, "waiting")
        assert token_file.remove(tokens, hashlib.sha256(token.encode()).hexdigest())
        proxy.heal()
        window.page.get_by_text("Your token is no longer valid").wait_for()
        window.sign_in(token_file.add(tokens, user="u", project=project, roles=["member"]))
        window.wait_until(disk, "done")
    assert_stored(server, project, disk)


def test_a_wrong_token_is_refused(server: Gateway, visit: Visitor) -> None:
    window = visit()
    window.open(server.url)
    window.page.get_by_label("Token", exact=True).fill("wrong")
    window.button("Sign in").click()
    window.page.get_by_text("The server does not accept this token.").wait_for()
    assert not window.page.locator("main").is_visible()


def test_without_a_mouse(
    server: Gateway, visit: Visitor, tmp_path: pathlib.Path, project: str
) -> None:
    """Sign in, choose a file, upload it, look at it, deactivate and delete it."""
    disk = raw_disk(tmp_path, "typed.raw")
    window = visit()
    page, press = window.page, window.page.keyboard.press
    window.open(server.url)
    page.locator("[name=token]:focus").wait_for()
    page.keyboard.type(server.token(project))
    press("Enter")
    page.get_by_text("0 images").wait_for()

    def tab_to(name: str) -> None:
        for _ in range(60):
            press("Tab")
            if page.evaluate("document.activeElement.ariaLabel ?? document.activeElement.innerText") == name:
                return
            if page.evaluate("document.activeElement.id") == name:
                return
        pytest.fail(f"the Tab key does not reach {name}")

    tab_to("files")
    with page.expect_file_chooser() as chosen:
        press("Enter")
    chosen.value.set_files(disk)
    window.card(disk).wait_for()
    tab_to("Upload")
    press("Enter")
    window.wait_until(disk, "done")
    page.locator("[aria-label='Close typed.raw']:focus").wait_for()
    tab_to("Details of typed")
    press("Enter")
    page.get_by_text("sha512").wait_for()
    tab_to("Deactivate typed")
    press("Enter")
    page.locator("[data-status=deactivated]").wait_for()
    (image,) = images_of(server, project)
    assert image["status"] == "deactivated"
    page.once("dialog", lambda dialog: dialog.accept())
    tab_to("Delete typed")
    press("Enter")
    page.get_by_text("0 images").wait_for()
    assert images_of(server, project) == []
