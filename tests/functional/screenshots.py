"""Makes the pictures of doc/page.md: ``python -m tests.functional.screenshots``.

Needs Chromium and qemu-img.
"""

import pathlib
import random
import subprocess
import tempfile

from tests.functional import browser
from tests.functional.cutting import Cutter
from tests.functional.gateway import ROOT, Gateway, serving
from tests.functional.png import with_palette
from tests.functional.wire import MIB

DIRECTORY = ROOT / "doc" / "images"
#: So that they load quickly, and Git keeps every version of them.
MOST_BYTES = 60_000

CONFIG = """
[DEFAULT]
enabled_backends = fast:file, archive:file
[glance_store]
default_backend = fast
[fast]
filesystem_store_datadir = {state}/fast
[archive]
filesystem_store_datadir = {state}/archive
"""


def main() -> None:
    DIRECTORY.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        directory = pathlib.Path(place)
        with serving(Gateway(directory, config=CONFIG)) as gateway, browser.chromium() as chromium:
            _fill(gateway)
            with Cutter(gateway.port, [place * MIB for place in range(38, 98)]) as proxy:
                _desk(
                    browser.Visit(chromium, viewport={"width": 1120, "height": 720}),
                    proxy.url,
                    gateway,
                    directory,
                )
                _phone(chromium, gateway)
    for picture in DIRECTORY.glob("page*.png"):
        picture.write_bytes(with_palette(picture.read_bytes()))
        assert picture.stat().st_size < MOST_BYTES, picture


def _fill(gateway: Gateway) -> None:
    data = random.Random(1).randbytes(5 * MIB)
    for name, size, store in (
        ("rocky-9", 5, "archive"),
        ("alma-9", 3, "fast"),
        ("freebsd-15", 4, "fast"),
    ):
        image_id = gateway.create(name=name)
        headers = {"X-Image-Meta-Store": store}
        assert gateway.upload(image_id, data[: size * MIB], headers=headers).status == 204
    gateway.call("POST", f"/v2/images/{image_id}/actions/deactivate", token=gateway.admin)


def _desk(window: browser.Visit, url: str, gateway: Gateway, directory: pathlib.Path) -> None:
    """An upload midway, and a refused one."""
    disk, hostile = directory / "debian-13.raw", directory / "downloaded.qcow2"
    disk.write_bytes(random.Random(2).randbytes(60 * MIB))
    backing = ["-b", "/etc/passwd", "-F", "raw", str(hostile), "1G"]
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-u", *backing], check=True)
    window.open(url, gateway.token())
    window.choose(hostile)
    window.button("Upload").click()
    window.wait_until(hostile, "refused")
    window.choose(disk)
    window.card(disk).get_by_role("button", name="Upload").click()
    window.wait_until(disk, "waiting")
    window.button("Pause debian-13.raw").click()
    window.wait_until(disk, "paused")
    window.button("Refresh").click()
    window.rows().filter(has_text="saving").wait_for()
    window.page.mouse.move(0, 0)
    window.page.screenshot(path=DIRECTORY / "page.png", full_page=True)
    window.close()


def _phone(chromium: browser.Any, gateway: Gateway) -> None:
    size = {"width": 360, "height": 640}
    window = browser.Visit(chromium, viewport=size, color_scheme="dark")
    window.open(gateway.url, gateway.token())
    window.rows().filter(has_text="rocky-9").wait_for()
    window.page.screenshot(path=DIRECTORY / "page-phone.png")
    window.close()


if __name__ == "__main__":
    main()
