"""The store contract on nginx: as a WebDAV server, and with PUT and DELETE only."""

import contextlib
import itertools
import pathlib
import re
import urllib.parse

import pytest

from imsgate.testing import StoreContract
from imsgate.testing.stores import local
from tests.stores.http import nginx
from tests.stores.s3.proxy import between


@pytest.fixture(scope="module", params=["webdav", "put only"])
def served(request, serve):
    return serve(request.param)


class TestHttpStore(StoreContract):
    SEQUENCES = 10  # a request to a real server takes a millisecond

    @pytest.fixture
    def store(self, served):
        self.server = served
        self.OVERWRITES = served.kind == "put only"  # nginx ignores the condition of a PUT
        with between(served.port) as self.proxy:
            store = served.store(http_store_url=f"{self.proxy.url}/images")
            yield store
            store.close()

    @pytest.fixture
    def small_store(self, served):
        store = served.store("small")
        yield store
        store.close()

    def leftovers(self, store):
        place = urllib.parse.urlsplit(store.properties()["http_store_url"]).path
        return self.server.files(place.strip("/"))

    def shown(self, store):
        return self.proxy.url, "/images"

    def truncate(self, store, location, size):
        local.truncate(self.server.home / "root" / "images" / location, size)

    @contextlib.contextmanager
    def _answered(self, rule):
        self.proxy.rules.append(rule)
        yield
        self.proxy.rules.remove(rule)

    def denied(self, store):
        answer = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        return self._answered(lambda line: answer)

    def private(self, store):
        return nginx.USER, nginx.PASSWORD, self.proxy.url, str(self.server.home), "/images"

    @contextlib.contextmanager
    def _fault(self, pattern, nth, after=0):
        """The nth request and all later ones are cut."""
        count = itertools.count(1)

        def rule(line):
            return after if re.match(pattern, line) and next(count) >= nth else None

        self.proxy.rules.append(rule)
        yield
        self.proxy.rules.remove(rule)

    def write_fault(self, store, nth):
        # An upload is one or two requests, so the first one is cut at a block.
        return self._fault("PUT|MOVE|DELETE", 1, after=(nth - 1) << 19)

    def read_fault(self, store, nth):
        return self._fault(r"GET /images/\w", nth, after=-1000)

    def away(self, store):
        return self._fault("", 1)

    @contextlib.contextmanager
    def _replaced(self):
        place: pathlib.Path = self.server.home / "root" / "images"
        hidden = place.rename(place.parent / "hidden")
        place.mkdir()
        try:
            yield
            assert not list(place.iterdir())
        finally:
            place.rmdir()
            hidden.rename(place)

    def replaced(self, store):
        return self._replaced()
