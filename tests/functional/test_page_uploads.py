"""Uploads on the page at /ui/, by a real Chromium in front of a real gateway."""

import gzip
import hashlib
import os
import pathlib
import random
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from imsgate.auth import token_file
from tests.functional import browser as browsers
from tests.functional.browser import Visitor, images_of, raw_disk
from tests.functional.conftest import needs_program
from tests.functional.cutting import Cutter
from tests.functional.gateway import Gateway
from tests.functional.wire import MIB

GLANCE_STORE = """
[DEFAULT]
enabled_backends = old:glance
[glance_store]
default_backend = old
[old]
glance_store_driver = file
filesystem_store_datadir = {state}/old
"""


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


def assert_stored(roomy: Gateway, project: str, file: pathlib.Path) -> dict[str, Any]:
    """There is an active image with the name and the data of the file."""
    wanted = ("active", file.stem)
    listed = images_of(roomy, project)
    (record,) = (record for record in listed if (record["status"], record["name"]) == wanted)
    with open(file, "rb") as data:
        assert record["os_hash_value"] == hashlib.file_digest(data, "sha512").hexdigest()
    assert record["size"] == file.stat().st_size
    return record


def test_a_cut_upload_goes_on_after_a_reload(
    roomy: Gateway, visit: Visitor, qcow2: pathlib.Path, project: str
) -> None:
    """From the last byte that was stored, in the browser that knows which file it was."""
    token, size = roomy.token(project), qcow2.stat().st_size
    # From 100 MiB on, the network breaks after each MiB, so that it cannot complete by itself.
    cuts = [place * MIB for place in range(100, 400)]
    with Cutter(roomy.port, cuts) as proxy:
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
    record = assert_stored(roomy, project, qcow2)
    assert record["disk_format"] == "qcow2"
    assert proxy.forwarded - size < size // 20, "little was sent twice"


def test_a_hostile_image_is_refused_with_a_hint(
    roomy: Gateway, visit: Visitor, tmp_path: pathlib.Path, project: str
) -> None:
    hostile = tmp_path / "hostile.qcow2"
    options = ["-q", "-f", "qcow2", "-u", "-b", "/etc/passwd", "-F", "raw", str(hostile), "1G"]
    subprocess.run([needs_program("qemu-img"), "create", *options], check=True)
    window = visit()
    window.open(roomy.url, roomy.token(project))
    window.choose(hostile)
    card = window.card(hostile)
    card.get_by_role("button", name="Upload").click()
    window.wait_until(hostile, "refused")
    shown = card.get_by_role("alert").inner_text()
    assert "backing file" in shown
    assert "What you can do: " in shown
    assert "qemu-img" in shown
    assert "Check: backing_file" in shown
    assert images_of(roomy, project) == []
    # Something else can be tried at once.
    assert card.get_by_label("Name").is_enabled()


def test_a_wrong_format_can_be_corrected(
    roomy: Gateway, visit: Visitor, tmp_path: pathlib.Path, project: str
) -> None:
    disk = raw_disk(tmp_path, "plain.img")
    window = visit()
    window.open(roomy.url, roomy.token(project))
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
    assert assert_stored(roomy, project, disk)["stores"] == "archive"


def test_two_files_at_once_one_of_them_paused(
    roomy: Gateway, visit: Visitor, tmp_path: pathlib.Path, project: str
) -> None:
    disks = [raw_disk(tmp_path, name, 40 * MIB) for name in ("one.raw", "two.raw")]
    # The first one to send 20 MiB waits for its turn to go on.
    with Cutter(roomy.port, [place * MIB for place in range(20, 120)]) as proxy:
        window = visit()
        window.open(proxy.url, roomy.token(project))
        window.drop(*disks)
        window.button("Upload all").click()
        for disk in disks:
            window.wait_until(disk, "waiting")
        window.button("Pause one.raw").click()
        window.wait_until(disks[0], "paused")
        proxy.heal()
        window.wait_until(disks[1], "done")
        window.button("Continue one.raw").click()
        window.wait_until(disks[0], "done")
        for disk in disks:
            assert_stored(roomy, project, disk)
        assert sorted(window.names()) == ["one", "two"]


def test_a_store_that_takes_no_parts(
    start: Callable[..., Gateway], visit: Visitor, tmp_path: pathlib.Path
) -> None:
    """The upload is one request, which begins anew after a cut."""
    disk = raw_disk(tmp_path, "whole.raw", 8 * MIB)
    gateway = start(GLANCE_STORE)
    with Cutter(gateway.port, [4 * MIB]) as proxy:
        window = visit()
        window.open(proxy.url, gateway.token())
        window.choose(disk)
        window.button("Upload").click()
        window.wait_until(disk, "done")
    assert proxy.made == 1
    assert_stored(gateway, "demo", disk)


def test_an_upload_is_cancelled(
    roomy: Gateway, visit: Visitor, tmp_path: pathlib.Path, project: str
) -> None:
    disk = raw_disk(tmp_path, "unwanted.raw", 40 * MIB)
    with Cutter(roomy.port, [place * MIB for place in range(20, 60)]) as proxy:
        window = visit()
        window.open(proxy.url, roomy.token(project))
        window.choose(disk)
        window.button("Upload").click()
        window.wait_until(disk, "waiting")
        proxy.heal()
        window.button("Cancel unwanted.raw").click()
        window.card(disk).wait_for(state="detached")
    assert images_of(roomy, project) == []
    assert not window.page.locator("#unfinished").is_visible()


def test_a_token_that_is_revoked_is_asked_for_again(
    roomy: Gateway, visit: Visitor, tmp_path: pathlib.Path, project: str
) -> None:
    """And then everything goes on."""
    disk = raw_disk(tmp_path, "long.raw", 40 * MIB)
    tokens = str(roomy.state / "tokens")
    token = token_file.add(tokens, user="u", project=project, roles=["member"])
    with Cutter(roomy.port, [place * MIB for place in range(20, 60)]) as proxy:
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
    assert_stored(roomy, project, disk)


def test_another_file_of_the_same_name_is_another_image(
    roomy: Gateway, visit: Visitor, tmp_path: pathlib.Path, project: str
) -> None:
    """The upload that was not finished stays, until somebody cancels it."""
    disk = raw_disk(tmp_path, "daily.raw", 4 * MIB)
    modified = disk.stat().st_mtime
    with Cutter(roomy.port, [place << 16 for place in range(16, 400)]) as proxy:
        window = visit()
        window.open(proxy.url, roomy.token(project))
        window.choose(disk)
        window.button("Upload").click()
        window.wait_until(disk, "waiting")
        window.page.reload()
        proxy.heal()
        disk.write_bytes(random.Random(1).randbytes(4 * MIB))
        os.utime(disk, (modified, modified))
        window.sign_in(roomy.token(project))
        window.choose(disk)
        window.button("Upload").click()
        window.wait_until(disk, "done")
        listed = {record["status"] for record in images_of(roomy, project)}
        assert listed == {"saving", "active"}
        window.button("Cancel daily.raw").click()
        window.page.locator("#unfinished").wait_for(state="hidden")
    assert_stored(roomy, project, disk)


#: What qemu-img is told to make, and what is proposed.
FORMATS = {
    "raw": "raw",
    "qcow2": "qcow2",
    "qcow": "qcow",
    "vmdk": "vmdk",
    "vpc": "vhd",
    "vpc -o subformat=fixed": "vhd",
    "vhdx": "vhdx",
    "vdi": "vdi",
}


def test_name_and_format_are_proposed(
    roomy: Gateway, visit: Visitor, tmp_path: pathlib.Path, project: str
) -> None:
    """By the content. What is no image is named, too."""
    made = {}
    for number, (options, proposed) in enumerate(FORMATS.items()):
        file = tmp_path / f"disk-{number}.img"
        command = [needs_program("qemu-img"), "create", "-q", "-f", *options.split(), file, "4M"]
        subprocess.run(command, check=True)
        made[file] = proposed
    packed = tmp_path / "packed.img"
    packed.write_bytes(gzip.compress(b"image"))
    window = visit()
    window.open(roomy.url, roomy.token(project))
    window.choose(*made, packed)
    window.card(packed).get_by_text("This looks like a gzip file; decompress it first.").wait_for()
    for file, proposed in made.items():
        card = window.card(file)
        assert card.get_by_label("Disk format").input_value() == proposed
        assert card.get_by_label("Name").input_value() == file.stem
        assert not card.locator(".note").first.is_visible()


def test_over_plain_http_and_by_another_name(
    roomy: Gateway, visit: Visitor, tmp_path: pathlib.Path, project: str
) -> None:
    """Browsers then leave out some functions, such as crypto.subtle."""
    disk = raw_disk(tmp_path, "remote.raw")
    window = visit()
    window.open(f"http://{browsers.NAME}:{roomy.port}", roomy.token(project))
    assert window.page.evaluate("isSecureContext") is False
    window.choose(disk)
    window.button("Upload").click()
    window.wait_until(disk, "done")
    assert_stored(roomy, project, disk)
