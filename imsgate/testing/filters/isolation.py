"""No request affects another one."""

import concurrent.futures
from typing import Any

from imsgate.testing import apps, servers
from imsgate.testing.filters.base import FilterChecks, body


class IsolationChecks(FilterChecks):
    """Successive, interleaved and concurrent requests."""

    def test_requests_share_nothing(self, guarded: Any) -> None:
        """Each body is as long as the filter allows, so that a shared counter would refuse."""
        app = apps.App(apps.by(1000))
        filtered = guarded(app)
        data = [body(self.SIZE, str(number)) for number in range(4)]
        for content in data:
            assert servers.serve(filtered, self.request(content)).code == 200
        assert app.bodies == data

    def test_interleaved_requests_share_nothing(self, guarded: Any) -> None:
        filtered = guarded(apps.Echo())
        data = [body(self.SIZE, str(number)) for number in range(3)]
        exchanges = [servers.Exchange(filtered, self.request(content)) for content in data]
        for _ in range(self.SIZE // 100 + 1):
            for exchange in exchanges:
                exchange.chunks(1)
        for content, exchange in zip(data, exchanges, strict=True):
            exchange.close()
            assert exchange.answer.body == content

    def test_concurrent_requests_share_nothing(self, guarded: Any) -> None:
        count = 8
        app = apps.Meets(count, self.SIZE // 2)
        filtered = guarded(app)
        data = [body(self.SIZE, str(number)) for number in range(count)]

        def send(content: bytes) -> bytes:
            try:
                answer = servers.serve(filtered, self.request(content))
                assert answer.code == 200
            except BaseException:
                app.barrier.abort()
                raise
            return answer.body

        with concurrent.futures.ThreadPoolExecutor(count) as threads:
            assert list(threads.map(send, data)) == data

    def test_a_refused_request_leaves_the_next_alone(self, guarded: Any) -> None:
        refused = self.required_refusal()
        app = apps.App(apps.by(100))
        filtered = guarded(app)
        servers.serve(filtered, {**self.request(), **refused})
        data = body(self.SIZE)
        assert servers.serve(filtered, self.request(data)).code == 200
        assert app.bodies == [data]
