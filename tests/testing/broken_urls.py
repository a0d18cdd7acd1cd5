"""Stores whose direct URLs are wrong; see ``broken_stores``."""

import functools
import http.server
import threading
import time
import urllib.parse

from imsgate.errors import ObjectNotFound
from imsgate.stores.base import DirectUrls
from tests.testing.sound_store import Sound, rejected_by

GIVES = "test_a_direct_url_gives_the_object_and_its_ranges"
PERMITS = "test_a_direct_url_permits_nothing_else"
ENDS = "test_a_direct_url_ends"
MISSING = "test_what_is_missing_has_no_direct_url"
ENABLED = "test_direct_urls_have_to_be_enabled"

DAY = 86_400


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers /NUMBER/LOCATION?until=TIME with what the store of this number returns."""

    stores = {}  # noqa: RUF012 - for the life of the process that must fail

    def answer(self):
        parts = urllib.parse.urlsplit(self.path)
        _, number, location = parts.path.split("/")
        until = float(urllib.parse.parse_qs(parts.query)["until"][0])
        store = self.stores[int(number)]
        status, data = store.serve(self.command, location, until, self.headers.get("Range"))
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_PUT = do_POST = do_DELETE = answer

    def log_message(self, *args):
        pass


@functools.cache
def server():
    """One for all stores; it ends with the process."""
    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=made.serve_forever, daemon=True).start()
    return made


class Redirects(Sound, DirectUrls):
    """A sound store in memory whose objects have URLs."""

    enabled = False
    #: Seconds since the URLs were made that ``direct_url`` makes now.
    age = 0

    def direct_url(self, location):
        if not self.enabled:
            return None
        self.size(location)
        return self.signed(location, time.time() - self.age + 300)

    def signed(self, location, until):
        Handler.stores[id(self)] = self
        return f"http://127.0.0.1:{server().server_port}/{id(self)}/{location}?until={until}"

    def serve(self, method, location, until, part):
        if method != "GET" or until < time.time():
            return 403, b""
        return self.content(location, part)

    def content(self, location, part):
        data = self.data(location)
        if part is None:
            return 200, data
        first, _, last = part.removeprefix("bytes=").partition("-")
        if not first:
            return 206, data[-int(last) :]
        return 206, data[int(first) : int(last) + 1 if last else None]


@rejected_by(GIVES)
class ServesOnlyTheWhole(Redirects):
    def content(self, location, part):
        return super().content(location, None)


@rejected_by(GIVES)
class ServesOneByteTooFew(Redirects):
    def content(self, location, part):
        status, data = super().content(location, part)
        return status, data[:-1] if part else data


@rejected_by(GIVES)
class ServesTheBeginning(Redirects):
    def content(self, location, part):
        status, data = super().content(location, part)
        return status, data[: 1024 * 1024]


@rejected_by(GIVES)
class ServesNobody(Redirects):
    def serve(self, method, location, until, part):
        return 403, b""


@rejected_by(PERMITS)
class PermitsDeletion(Redirects):
    def serve(self, method, location, until, part):
        if method == "DELETE":
            self.delete(location)
            return 204, b""
        return super().serve(method, location, until, part)


@rejected_by(PERMITS)
class PermitsWriting(Redirects):
    def serve(self, method, location, until, part):
        if method == "PUT":
            self._objects[location] = b"other"
            return 201, b""
        return super().serve(method, location, until, part)


@rejected_by(PERMITS)
class HasItsPasswordInItsUrls(Redirects):
    def signed(self, location, until):
        return f"{super().signed(location, until)}&password=hunter2"


@rejected_by(PERMITS)
class HasAUserInItsUrls(Redirects):
    def signed(self, location, until):
        return super().signed(location, until).replace("//", "//user:secret@")


@rejected_by(PERMITS)
class NamesALocalFile(Redirects):
    def signed(self, location, until):
        return f"file:///srv/images/{location}"


@rejected_by(ENDS)
class NeverEnds(Redirects):
    def serve(self, method, location, until, part):
        return super().serve(method, location, time.time() + DAY, part)


@rejected_by(MISSING)
class HasUrlsOfNothing(Redirects):
    def direct_url(self, location):
        return self.signed(location, time.time() + 300) if self.enabled else None


@rejected_by(MISSING)
class SaysNoneForMissing(Redirects):
    def direct_url(self, location):
        try:
            return super().direct_url(location)
        except ObjectNotFound:
            return None


@rejected_by(ENABLED)
class RedirectsUnasked(Redirects):
    enabled = True
