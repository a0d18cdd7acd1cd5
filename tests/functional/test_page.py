"""The page at /ui/: its list, imports and signing in, in a real Chromium."""

import pathlib
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from imsgate.model import Status, Visibility
from imsgate.registry.sql import rows
from imsgate.registry.sql.tables import IMAGES
from imsgate.testing.records import after, image
from tests.functional import browser as browsers
from tests.functional.browser import Visitor, images_of, raw_disk
from tests.functional.gateway import Gateway
from tests.functional.keystone import StackGateway
from tests.functional.wire import MIB
from tests.sources import web_server
from tests.stores.s3 import servers

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


# The list


def fill(roomy: Gateway, project: str, count: int) -> None:
    """Put records of images into the database, which is faster than to upload them."""
    made = []
    for number in range(count):
        name = f"image-{number:04}"
        moment = {"created_at": after(number), "updated_at": after(number)}
        fields = {"owner": project, "visibility": Visibility.PRIVATE, "status": Status.ACTIVE}
        made.append(image(name=name, disk_format="raw", size=number, **fields, **moment))
    engine = sa.create_engine(f"sqlite:///{roomy.state}/imsgate.sqlite")
    with engine.begin() as connection:
        columns = [{name: getattr(each, name) for name in rows.COLUMNS} for each in made]
        connection.execute(sa.insert(IMAGES), [rows.columns(each) for each in columns])
    engine.dispose()


def test_a_long_list(roomy: Gateway, visit: Visitor, project: str) -> None:
    """A thousand images at first, the rest on request; typing filters them."""
    fill(roomy, project, 1100)
    window = visit()
    page = window.page
    window.open(roomy.url, roomy.token(project))
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


def test_who_uploads_and_how_far(roomy: Gateway, visit: Visitor, project: str) -> None:
    """What other clients do appears by itself."""
    token = roomy.token(project)
    image_id = roomy.create(token=token, name="from-elsewhere")
    window = visit()
    window.open(roomy.url, token)
    begin = {"Upload-Complete": "?0", "Upload-Length": str(4 * MIB)}
    assert roomy.upload(image_id, b"\1" * MIB, token=token, headers=begin).status == 201
    window.button("Refresh").click()
    window.page.get_by_text("1.0 MiB of 4.0 MiB").wait_for()
    assert f"by user-of-{project}" in window.rows().inner_text()
    headers = {"Content-Type": "application/partial-upload", "Upload-Offset": str(MIB)}
    headers["Upload-Complete"] = "?1"
    path = f"/v2/images/{image_id}/upload"
    assert roomy.call("PATCH", path, b"\1" * (3 * MIB), token=token, headers=headers).status < 300
    window.page.locator("[data-status=active]").wait_for()


def test_the_reason_of_a_refusal_is_shown(roomy: Gateway, visit: Visitor, project: str) -> None:
    """Of a request in the list: a reader may not delete."""
    fill(roomy, project, 1)
    window = visit()
    window.open(roomy.url, roomy.token(project, ("reader",)))
    window.page.once("dialog", lambda dialog: dialog.accept())
    window.button("Delete image-0000").click()
    window.page.get_by_text("image-0000: You are not allowed to").wait_for()


# Imports


def test_imports_from_a_url(roomy: Gateway, visit: Visitor, project: str) -> None:
    window = visit()
    page = window.page
    window.open(roomy.url, roomy.token(project))
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
    stored = {record["name"]: record for record in images_of(roomy, project)}
    assert (stored["there"]["stores"], stored["there"]["size"]) == ("archive", MIB)


def test_an_import_that_is_refused_leaves_no_record(
    roomy: Gateway, visit: Visitor, project: str
) -> None:
    window = visit()
    window.open(roomy.url, roomy.token(project))
    window.page.get_by_role("heading", name="Import").click()
    form = window.page.locator("#import form")
    form.get_by_label("URL").fill("file:///etc/passwd")
    form.get_by_label("Name").fill("hostile")
    form.get_by_role("button", name="Import").click()
    window.page.locator("#import .problem", has_text="file").wait_for()
    assert images_of(roomy, project) == []


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


def test_a_wrong_token_is_refused(roomy: Gateway, visit: Visitor) -> None:
    window = visit()
    window.open(roomy.url)
    window.page.get_by_label("Token", exact=True).fill("wrong")
    window.button("Sign in").click()
    window.page.get_by_text("The server does not accept this token.").wait_for()
    assert not window.page.locator("main").is_visible()


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
    roomy: Gateway, visit: Visitor, tmp_path: pathlib.Path, project: str
) -> None:
    """Nothing is wider than the window, and it is dark."""
    disk = raw_disk(tmp_path, "a-name-that-is-much-longer-than-the-window-is-wide.raw")
    window = visit(viewport={"width": 360, "height": 640}, color_scheme="dark")
    window.open(roomy.url, roomy.token(project))
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


def test_the_policy_stops_what_a_page_could_be_made_to_do(roomy: Gateway, browser: Any) -> None:
    """And each violation would fail any other test."""
    window = browsers.Visit(browser)
    window.open(roomy.url)
    for attempt, directive in ATTEMPTS.items():
        with window.page.expect_console_message(
            lambda said, rule=directive: f"CSP: {rule}" in said.text
        ):
            window.page.evaluate(f"(async () => {{ try {{ await ({attempt}) }} catch {{}} }})()")
    with pytest.raises(AssertionError, match=r"CSP: connect-src http://127\.0\.0\.1:9"):
        window.close()


def test_without_a_mouse(
    roomy: Gateway, visit: Visitor, tmp_path: pathlib.Path, project: str
) -> None:
    """Sign in, choose a file, upload it, look at it, deactivate and delete it."""
    disk = raw_disk(tmp_path, "typed.raw")
    window = visit()
    page, press = window.page, window.page.keyboard.press
    page.on("filechooser", lambda chooser: chooser.set_files(disk))
    window.open(roomy.url)
    page.locator("[name=token]:focus").wait_for()
    press("Escape")
    press("Escape")
    page.locator("[name=token]:focus").wait_for()
    page.keyboard.type(roomy.token(project))
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
    (image,) = images_of(roomy, project)
    assert image["status"] == "deactivated"
    page.once("dialog", lambda dialog: dialog.accept())
    tab_to("Delete typed")
    press("Enter")
    page.get_by_text("0 images").wait_for()
    assert images_of(roomy, project) == []
