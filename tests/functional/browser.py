"""A real Chromium, and the page in it. Everything that the browser complains about fails a test."""

import contextlib
import importlib.util
import pathlib
import random
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from tests import markers
from tests.functional.gateway import HOST, PATIENCE, Gateway
from tests.functional.wire import MIB

HAS_PLAYWRIGHT = importlib.util.find_spec("playwright") is not None
PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser")

#: A name of this machine, over which a browser does not trust plain HTTP as it does for localhost.
NAME = "image-gateway.test"

#: What Chromium logs for any response that is an error, and for any request that is cut. The page
#: cannot prevent it.
_OF_NETWORK = re.compile(r"Failed to load resource: (the server responded with a status|net::ERR_)")

_WATCH = """
addEventListener("securitypolicyviolation", (event) =>
  console.error(`CSP: ${event.violatedDirective} ${event.blockedURI} ${event.sample}`));
"""


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
    """A browser. Root may only run it without its sandbox; it sees nothing but our own pages."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - may be missing

    markers.require("browser")
    with sync_playwright() as playwright:
        # Its shared memory is small in containers.
        args = ["--no-sandbox", "--disable-dev-shm-usage"]
        args.append(f"--host-resolver-rules=MAP {NAME} {HOST}")
        browser = playwright.chromium.launch(executable_path=PROGRAM, args=args)
        try:
            yield browser
        finally:
            browser.close()


class Visit:
    """A window of its own, as of a new user, at the page of a gateway."""

    def __init__(self, browser: Any, **options: Any) -> None:
        """``options`` are Playwright's for a context, such as ``viewport``."""
        self.context = browser.new_context(locale="en-US", timezone_id="UTC", **options)
        self.context.set_default_timeout(PATIENCE * 1000)
        self.context.add_init_script(_WATCH)
        self.page = self.context.new_page()
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        #: Errors that the page or the browser reported.
        self.complaints: list[str] = []

    def _heard(self, message: Any) -> None:
        if message.type == "error" and not _OF_NETWORK.match(message.text):
            self.complaints.append(message.text)

    def open(self, url: str, token: str | None = None) -> None:
        """Open the page of the gateway at ``url``, and sign in with the token."""
        self.page.goto(f"{url}/ui/")
        if token is not None:
            self.sign_in(token)

    def sign_in(self, token: str) -> None:
        self.page.get_by_label("Token", exact=True).fill(token)
        self.button("Sign in").click()
        self.page.get_by_role("heading", name="All images").wait_for()

    def button(self, name: str, exact: bool = True) -> Any:
        return self.page.get_by_role("button", name=name, exact=exact)

    def choose(self, *files: pathlib.Path) -> None:
        self.page.set_input_files("#files", list(files))

    def drop(self, *files: pathlib.Path) -> None:
        """Drop real files from outside of the browser on the page."""
        area = self.page.locator("#drop").bounding_box()
        session = self.context.new_cdp_session(self.page)
        place = {"x": area["x"] + area["width"] / 2, "y": area["y"] + area["height"] / 2}
        data = {"items": [], "files": [str(file) for file in files], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            session.send("Input.dispatchDragEvent", {"type": kind, **place, "data": data})
        session.detach()

    def card(self, file: pathlib.Path) -> Any:
        """What the page shows of one chosen file."""
        return self.page.locator("#uploads > li", has_text=file.name)

    def wait_until(self, file: pathlib.Path, state: str) -> None:
        self.page.locator(f"#uploads > li[data-state={state}]", has_text=file.name).wait_for()

    def rows(self) -> Any:
        """The images that the list shows."""
        return self.page.locator("#images > tr:not(.details):visible")

    def names(self) -> Sequence[str]:
        return [str(text) for text in self.rows().locator("td:first-child").all_text_contents()]

    def close(self) -> None:
        self.context.close()
        assert self.complaints == [], self.complaints


def raw_disk(directory: pathlib.Path, name: str, size: int = 3 * MIB) -> pathlib.Path:
    file = directory / name
    file.write_bytes(random.Random(name).randbytes(size))
    return file


def images_of(server: Gateway, project: str) -> list[dict[str, Any]]:
    answer = server.call("GET", "/v2/images", token=server.token(project))
    listed: list[dict[str, Any]] = answer.json["images"]
    return listed


#: Opens a window; its keywords are those of ``Visit``.
Visitor = Callable[..., Visit]
