"""The page at /ui/ in a real Chromium, in front of a real gateway."""

import contextlib
import gzip
import hashlib
import os
import pathlib
import random
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from imsgate.auth import token_file
from imsgate.model import Status, Visibility
from imsgate.registry import rows
from imsgate.registry.tables import IMAGES
from imsgate.testing.records import after, image
from tests.functional import browser as browsers
from tests.functional.conftest import NEAR, STRICT, needs, needs_program
from tests.functional.cutting import Cutter
from tests.functional.gateway import Gateway, serving
from tests.functional.keystone import StackGateway
from tests.functional.wire import MIB
from tests.sources import web_server
from tests.stores.s3 import servers

CONFIG = STRICT.replace("67108864", "1073741824") + NEAR

GLANCE_STORE = """
[DEFAULT]
enabled_backends = old:glance
[glance_store]
default_backend = old
[old]
glance_store_driver = file
filesystem_store_datadir = {state}/old
"""

BUCKETS = """
[ims]
profile = huawei
[ims_buckets]
driver = s3
allowed = *:{bucket}
s3_store_host = {host}
s3_store_access_key = {access}
s3_store_secret_key = {secret}
s3_store_bucket_url_format = path
[jobs]
poll = 0.2
"""

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
    wanted = ("active", file.stem)
    listed = images_of(server, project)
    (record,) = (record for record in listed if (record["status"], record["name"]) == wanted)
    with open(file, "rb") as data:
        assert record["os_hash_value"] == hashlib.file_digest(data, "sha512").hexdigest()
    assert record["size"] == file.stat().st_size
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


def test_another_file_of_the_same_name_is_another_image(
    server: Gateway, visit: Visitor, tmp_path: pathlib.Path, project: str
) -> None:
    """The upload that was not finished stays, until somebody cancels it."""
    disk = raw_disk(tmp_path, "daily.raw", 4 * MIB)
    modified = disk.stat().st_mtime
    with Cutter(server.port, [place << 16 for place in range(16, 400)]) as proxy:
        window = visit()
        window.open(proxy.url, server.token(project))
        window.choose(disk)
        window.button("Upload").click()
        window.wait_until(disk, "waiting")
        window.page.reload()
        proxy.heal()
        disk.write_bytes(random.Random(1).randbytes(4 * MIB))
        os.utime(disk, (modified, modified))
        window.sign_in(server.token(project))
        window.choose(disk)
        window.button("Upload").click()
        window.wait_until(disk, "done")
        listed = {record["status"] for record in images_of(server, project)}
        assert listed == {"saving", "active"}
        window.button("Cancel daily.raw").click()
        window.page.locator("#unfinished").wait_for(state="hidden")
    assert_stored(server, project, disk)


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
    server: Gateway, visit: Visitor, tmp_path: pathlib.Path, project: str
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
    window.open(server.url, server.token(project))
    window.choose(*made, packed)
    window.card(packed).get_by_text("This looks like a gzip file; decompress it first.").wait_for()
    for file, proposed in made.items():
        card = window.card(file)
        assert card.get_by_label("Disk format").input_value() == proposed
        assert card.get_by_label("Name").input_value() == file.stem
        assert not card.locator(".note").first.is_visible()


def test_over_plain_http_and_by_another_name(
    server: Gateway, visit: Visitor, tmp_path: pathlib.Path, project: str
) -> None:
    """Browsers then leave out some functions, such as crypto.subtle."""
    disk = raw_disk(tmp_path, "remote.raw")
    window = visit()
    window.open(f"http://{browsers.NAME}:{server.port}", server.token(project))
    assert window.page.evaluate("isSecureContext") is False
    window.choose(disk)
    window.button("Upload").click()
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
    page.on("filechooser", lambda chooser: chooser.set_files(disk))
    window.open(server.url)
    page.locator("[name=token]:focus").wait_for()
    page.keyboard.type(server.token(project))
    press("Enter")
    page.get_by_text("0 images").wait_for()

    def tab_to(name: str) -> None:
        for _ in range(60):
            press("Tab")
            if (
                page.evaluate(
                    "document.activeElement.ariaLabel ?? document.activeElement.innerText"
                )
                == name
            ):
                return
            if page.evaluate("document.activeElement.id") == name:
                return
        pytest.fail(f"the Tab key does not reach {name}")

    tab_to("files")
    press("Enter")
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


# The list


def fill(server: Gateway, project: str, count: int) -> None:
    """Put records of images into the database, which is faster than to upload them."""
    made = []
    for number in range(count):
        name = f"image-{number:04}"
        moment = {"created_at": after(number), "updated_at": after(number)}
        fields = {"owner": project, "visibility": Visibility.PRIVATE, "status": Status.ACTIVE}
        made.append(image(name=name, disk_format="raw", size=number, **fields, **moment))
    engine = sa.create_engine(f"sqlite:///{server.state}/imsgate.sqlite")
    with engine.begin() as connection:
        columns = [{name: getattr(each, name) for name in rows.COLUMNS} for each in made]
        connection.execute(sa.insert(IMAGES), [rows.columns(each) for each in columns])
    engine.dispose()


def test_a_long_list(server: Gateway, visit: Visitor, project: str) -> None:
    """A thousand images at first, the rest on request; typing filters them."""
    fill(server, project, 1100)
    window = visit()
    page = window.page
    window.open(server.url, server.token(project))
    page.get_by_text("1000 images; there are more").wait_for()
    assert window.rows().count() == 1000
    window.button("Show more").click()
    page.get_by_text("1100 images", exact=True).wait_for()
    # The newest first, and each once.
    assert window.names() == [f"image-{number:04}" for number in reversed(range(1100))]
    page.get_by_label("Filter").press_sequentially("IMAGE-07")
    page.get_by_text("100 of 1100 images").wait_for()
    page.get_by_label("Filter").press_sequentially("42")
    page.get_by_text("1 of 1100 images").wait_for()
    assert window.names() == ["image-0742"]
    window.button("Details of image-0742").click()
    page.locator(".details").get_by_text(project).wait_for()
    page.once("dialog", lambda dialog: dialog.accept())
    window.button("Delete image-0742").click()
    page.get_by_text("0 of 1099 images").wait_for()
    page.get_by_label("Filter").fill("")
    page.get_by_text("1099 images", exact=True).wait_for()
    assert window.rows().count() == 1099


def test_who_uploads_and_how_far(server: Gateway, visit: Visitor, project: str) -> None:
    """What other clients do appears by itself."""
    token = server.token(project)
    image_id = server.create(token=token, name="from-elsewhere")
    window = visit()
    window.open(server.url, token)
    begin = {"Upload-Complete": "?0", "Upload-Length": str(4 * MIB)}
    assert server.upload(image_id, b"\1" * MIB, token=token, headers=begin).status == 201
    window.button("Refresh").click()
    window.page.get_by_text("1.0 MiB of 4.0 MiB").wait_for()
    assert f"by user-of-{project}" in window.rows().inner_text()
    headers = {"Content-Type": "application/partial-upload", "Upload-Offset": str(MIB)}
    headers["Upload-Complete"] = "?1"
    path = f"/v2/images/{image_id}/upload"
    assert server.call("PATCH", path, b"\1" * (3 * MIB), token=token, headers=headers).status < 300
    window.page.locator("[data-status=active]").wait_for()


def test_the_reason_of_a_refusal_is_shown(server: Gateway, visit: Visitor, project: str) -> None:
    """Of a request in the list: a reader may not delete."""
    fill(server, project, 1)
    window = visit()
    window.open(server.url, server.token(project, ("reader",)))
    window.page.once("dialog", lambda dialog: dialog.accept())
    window.button("Delete image-0000").click()
    window.page.get_by_text("image-0000: You are not allowed to").wait_for()


# Imports


def test_imports_from_a_url(server: Gateway, visit: Visitor, project: str) -> None:
    window = visit()
    page = window.page
    window.open(server.url, server.token(project))
    page.get_by_role("heading", name="Import").click()
    form = page.locator("#import form")
    with web_server.serving() as source:
        source.routes["/disk.raw"] = web_server.whole(b"\1" * MIB)
        for name, path in (("there", "disk.raw"), ("missing", "nothing.raw")):
            form.get_by_label("URL").fill(f"{source.url}/{path}")
            form.get_by_label("Name").fill(name)
            form.get_by_label("Disk format").select_option("raw")
            form.get_by_label("Store").select_option("archive")
            form.get_by_role("button", name="Import").click()
            window.rows().filter(has_text=name).wait_for()
        there, missing = (window.rows().filter(has_text=name) for name in ("there", "missing"))
        there.locator("[data-status=active]").wait_for()
        missing.locator(".problem", has_text="404").wait_for()
    window.button("Details of missing").click()
    page.locator(".details li", has_text="api_image_import, failure").wait_for()
    stored = {record["name"]: record for record in images_of(server, project)}
    assert (stored["there"]["stores"], stored["there"]["size"]) == ("archive", MIB)


def test_an_import_that_is_refused_leaves_no_record(
    server: Gateway, visit: Visitor, project: str
) -> None:
    window = visit()
    window.open(server.url, server.token(project))
    window.page.get_by_role("heading", name="Import").click()
    form = window.page.locator("#import form")
    form.get_by_label("URL").fill("file:///etc/passwd")
    form.get_by_label("Name").fill("hostile")
    form.get_by_role("button", name="Import").click()
    window.page.locator("#import .problem", has_text="file").wait_for()
    assert images_of(server, project) == []


def test_an_import_from_a_bucket(
    bucket: servers.Bucket, start: Callable[..., Gateway], visit: Visitor
) -> None:
    bucket.client.put_object(Bucket=bucket.name, Key="disk.raw", Body=b"\1" * MIB)
    keys = {"access": bucket.server.access, "secret": servers.SECRET}
    gateway = start(BUCKETS.format(bucket=bucket.name, host=bucket.server.url, **keys))
    window = visit()
    window.open(gateway.url, gateway.token())
    window.page.get_by_role("heading", name="Import").click()
    form = window.page.locator("#import form")
    form.get_by_label("From").select_option("a bucket")
    form.get_by_label("Bucket and object").fill(f"{bucket.name}:disk.raw")
    form.get_by_label("Name").fill("registered")
    form.get_by_label("Disk format").select_option("raw")
    form.get_by_role("button", name="Import").click()
    window.page.locator("[data-status=active]").wait_for()
    assert "1.0 MiB" in window.rows().inner_text()


# Signing in, and what the browser enforces


def test_a_password_of_keystone(
    stack: StackGateway, visit: Visitor, tmp_path: pathlib.Path
) -> None:
    disk = raw_disk(tmp_path, "with-a-password.raw")
    window = visit()
    window.open(stack.url)
    fields = {"User name": "demo", "Password": "wrong", "Project": "demo"}
    for label, text in fields.items():
        window.page.get_by_label(label, exact=True).fill(text)
    window.button("Sign in").click()
    window.page.get_by_text("The request you have made requires authentication.").wait_for()
    window.page.get_by_label("Password", exact=True).fill("demo")
    window.button("Sign in").click()
    window.page.get_by_text("demo, project demo").wait_for()
    window.page.get_by_role("heading", name="All images").wait_for()
    window.choose(disk)
    window.button("Upload").click()
    window.wait_until(disk, "done")
    token = stack.token("demo")
    listed = stack.call("GET", "/v2/images?name=with-a-password", token=token).json["images"]
    assert [record["status"] for record in listed] == ["active"]


def test_a_phone_at_night(
    server: Gateway, visit: Visitor, tmp_path: pathlib.Path, project: str
) -> None:
    """Nothing is wider than the window, and it is dark."""
    disk = raw_disk(tmp_path, "a-name-that-is-much-longer-than-the-window-is-wide.raw")
    window = visit(viewport={"width": 360, "height": 640}, color_scheme="dark")
    window.open(server.url, server.token(project))
    window.choose(disk)
    width = "document.documentElement.scrollWidth"
    assert window.page.evaluate(width) <= 360
    window.button("Upload").click()
    window.wait_until(disk, "done")
    window.button(f"Details of {disk.stem}").click()
    window.page.get_by_text("sha512").wait_for()
    assert window.page.evaluate(width) <= 360
    ground = window.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert all(int(part) < 64 for part in ground.strip("rgb()").split(","))


ATTEMPTS = {
    "document.body.innerHTML = '<b>text</b>'": "require-trusted-types-for",
    "document.createElement('script').text = '0'": "require-trusted-types-for",
    "fetch('http://127.0.0.1:9/')": "connect-src",
}


def test_the_policy_stops_what_a_page_could_be_made_to_do(server: Gateway, browser: Any) -> None:
    """And each violation would fail any other test."""
    window = browsers.Visit(browser)
    window.open(server.url)
    for attempt, directive in ATTEMPTS.items():
        with window.page.expect_console_message(
            lambda said, rule=directive: f"CSP: {rule}" in said.text
        ):
            window.page.evaluate(f"(async () => {{ try {{ await ({attempt}) }} catch {{}} }})()")
    with pytest.raises(AssertionError, match=r"CSP: connect-src http://127\.0\.0\.1:9"):
        window.close()
