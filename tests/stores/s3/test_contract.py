"""The store contract on every real server."""

import contextlib
import datetime
import itertools
import re

import pytest
from botocore import auth

from imsgate.stores.s3.bucket import Bucket
from imsgate.testing import StoreContract
from imsgate.testing.stores.faults import FaultChecks
from tests.stores.s3 import servers
from tests.stores.s3.conftest import FOR_FAULTS
from tests.stores.s3.proxy import between


class TestS3Store(StoreContract):
    SEQUENCES = 4  # a request to a real server takes milliseconds

    @pytest.fixture(autouse=True)
    def _set_up(self, bucket):
        self.bucket = bucket
        self.OVERWRITES = bucket.server.name.lower().startswith(
            "ceph"
        )  # a multipart upload replaces the object

    @pytest.fixture
    def store(self, contract_store):
        return contract_store

    @pytest.fixture
    def redirecting_store(self, bucket):
        with contextlib.closing(bucket.store(s3_store_redirect=True)) as store:
            yield store

    @contextlib.contextmanager
    def expired(self, store):
        """Only URLs are made a day ago: the service refuses other requests of that time."""
        made = Bucket.url
        ago = datetime.timedelta(days=1)

        def url(*args):
            with pytest.MonkeyPatch.context() as patch:
                clock = auth.get_current_datetime
                patch.setattr(auth, "get_current_datetime", lambda *args: clock(*args) - ago)
                return made(*args)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Bucket, "url", url)
            yield

    @contextlib.contextmanager
    def others(self, store, names):
        for name in names:
            self.bucket.client.put_object(Bucket=self.bucket.name, Key=name, Body=b"other")
        yield
        for name in names:
            self.bucket.client.delete_object(Bucket=self.bucket.name, Key=name)

    def private(self, store):
        return [servers.SECRET]

    def leftovers(self, store):
        return self.bucket.leftovers()


@pytest.fixture(scope="module")
def contract_store(bucket):
    store = bucket.store()
    yield store
    store.close()


_REFUSAL = b"<Error><Code>AccessDenied</Code><Message>Access Denied.</Message></Error>"
DENIED = (
    b"HTTP/1.1 403 Forbidden\r\nContent-Type: application/xml\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n%s" % (len(_REFUSAL), _REFUSAL)
)


@FOR_FAULTS
class TestBrokenConnections(FaultChecks):
    """The contract's faults: the nth request and all later ones do not arrive."""

    @pytest.fixture
    def store(self, bucket):
        self.bucket = bucket
        if bucket.server.part > 1 << 20:
            pytest.skip("with parts this large, the images of these checks are single requests")
        with between(bucket.server.port) as self.proxy:
            store = bucket.store(s3_store_host=self.proxy.url)
            yield store
            store.close()

    @contextlib.contextmanager
    def _fault(self, pattern, nth):
        count = itertools.count(1)

        def rule(line):
            return 0 if re.match(pattern, line) and next(count) >= nth else None

        self.proxy.rules.append(rule)
        yield
        self.proxy.rules.remove(rule)

    def write_fault(self, store, nth):
        return self._fault("PUT|POST|DELETE", nth)

    def read_fault(self, store, nth):
        return self._fault("GET", nth)

    def away(self, store):
        return self._fault("", 1)

    @contextlib.contextmanager
    def denied(self, store):
        self.proxy.rules.append(lambda line: DENIED)
        yield
        self.proxy.rules.pop()

    def truncate(self, store, location, size):
        body = self.bucket.client.get_object(Bucket=self.bucket.name, Key=location)["Body"].read()
        self.bucket.client.put_object(Bucket=self.bucket.name, Key=location, Body=body[:size])

    def private(self, store):
        return servers.ACCESS, servers.SECRET, self.proxy.url

    def leftovers(self, store):
        return self.bucket.leftovers()
