"""Checks of the ability ``DirectUrls``: clients get an object from the storage service itself."""

import http.client
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

import pytest

from imsgate.errors import ObjectNotFound
from imsgate.stores.base import DirectUrls, Store
from imsgate.testing.stores.checks import StoreChecks
from imsgate.testing.stores.contents import FOREIGN
from imsgate.testing.stores.data import SIZE, assert_same, body, content

_WHERE = "(DirectUrls.direct_url in imsgate/stores/abilities.py)"

#: Range headers, and the part of an object of SIZE bytes that they ask for.
_RANGES = {
    "bytes=10-99": slice(10, 100),
    "bytes=-1": slice(SIZE - 1, SIZE),
    f"bytes={SIZE - 5}-": slice(SIZE - 5, SIZE),
}


class UrlChecks(StoreChecks):
    """A direct URL gives the object, for a limited time, and permits nothing else."""

    @pytest.fixture
    def redirecting_store(self, store: Store) -> Any:
        """The same store with direct URLs enabled, if ``store`` does not have them enabled."""
        return store

    def expired(self, store: Store) -> AbstractContextManager[Any]:
        """A context in which ``direct_url`` returns URLs that it would have made a day ago."""
        raise self.not_given("expired")

    def request(
        self, url: str, method: str = "GET", headers: Mapping[str, str] | None = None
    ) -> tuple[int, bytes]:
        """The status and body of the response. The status is 0 if there is no response.

        Override it if clients need more than ``urllib``, such as a certificate.
        """
        data = b"other" if method in ("PUT", "POST") else None
        sent = dict(headers or {})
        request = urllib.request.Request(url, data, sent, method=method)  # noqa: S310 - see _url
        try:
            with urllib.request.urlopen(request, timeout=self.TIMEOUT) as response:  # noqa: S310
                return response.status, response.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, b""
        except (OSError, http.client.HTTPException):
            return 0, b""

    def test_a_direct_url_gives_the_object_and_its_ranges(
        self, store: Store, redirecting_store: Store
    ) -> None:
        data = body(SIZE)
        url = self._url(redirecting_store, self.keep(store, self.put(store, data)))
        empty = self._url(redirecting_store, self.keep(store, self.put(store, b"")))
        for each, expected in ((url, data), (empty, b"")):
            status, found = self.request(each)
            rule = f"GET of a direct URL must return 200 and the object; the status was {status}"
            assert status == 200, f"{rule} {_WHERE}"
            assert_same(found, expected, f"{rule} {_WHERE}")
        for wanted, part in _RANGES.items():
            status, found = self.request(url, headers={"Range": wanted})
            rule = f"GET with Range: {wanted} must return 206 and this part; it was {status}"
            assert status == 206, f"{rule} {_WHERE}"
            assert_same(found, data[part], f"{rule} {_WHERE}")

    def test_a_direct_url_permits_nothing_else(
        self, store: Store, redirecting_store: Store
    ) -> None:
        location = self.keep(store, self.put(store, b"data"))
        url = self._url(redirecting_store, location)
        assert "@" not in urllib.parse.urlsplit(url).netloc, (
            f"direct_url must contain no user information {_WHERE}"
        )
        shown = [text for text in self.private(store) if text in urllib.parse.unquote(url)]
        assert not shown, (
            f"direct_url must contain no credentials that outlive it; it contains {shown} {_WHERE}"
        )
        for method in ("PUT", "POST", "DELETE"):
            status, _ = self.request(url, method)
            rule = f"a direct URL must permit GET only; {method} returned {status}"
            try:
                assert_same(content(store, location), b"data", f"{rule} {_WHERE}")
            except ObjectNotFound:
                pytest.fail(f"{rule}, and the object is gone {_WHERE}")

    def test_a_direct_url_ends(self, store: Store, redirecting_store: Store) -> None:
        location = self.keep(store, self.put(store, b"data"))
        self._url(redirecting_store, location)
        with self.expired(redirecting_store):
            url = self._url(redirecting_store, location)
        status, found = self.request(url)
        assert found != b"data" and status >= 400, (
            "a direct URL must be valid for a limited time; a day later, GET still returned "
            f"{status} {_WHERE}"
        )

    def test_what_is_missing_has_no_direct_url(
        self, store: Store, redirecting_store: Store
    ) -> None:
        location = self.put(store, b"data")
        try:
            self._url(redirecting_store, location)
        finally:
            store.delete(location)
        for name, each in {"deleted": location, **FOREIGN}.items():
            with pytest.raises(ObjectNotFound):
                url = _need_urls(redirecting_store).direct_url(each)
                pytest.fail(
                    f"direct_url must raise ObjectNotFound for a missing object ({name}); it "
                    f"returned {url!r} {_WHERE}"
                )

    def test_direct_urls_have_to_be_enabled(self, store: Store, redirecting_store: Store) -> None:
        if redirecting_store is store:
            _need_urls(store)
            raise self.not_given("redirecting_store")
        location = self.keep(store, self.put(store, b"data"))
        url = _need_urls(store).direct_url(location)
        assert url is None, (
            "direct_url must return None unless the operator has enabled this; it returned "
            f"{url!r} {_WHERE}"
        )

    def _url(self, store: Store, location: str) -> str:
        url: str | None = _need_urls(store).direct_url(location)
        if url is None:
            if self.is_given("redirecting_store"):
                pytest.fail(f"direct_url must return a URL if it is enabled; it is None {_WHERE}")
            raise self.not_given("redirecting_store")
        scheme = urllib.parse.urlsplit(url).scheme
        assert scheme in ("http", "https"), (
            f"direct_url must return a URL of HTTP; its scheme is {scheme!r} {_WHERE}"
        )
        return url


def _need_urls(store: Store) -> Any:
    if not isinstance(store, DirectUrls):
        pytest.skip("the objects of this driver have no direct URLs")
    return store
