"""Filters that watch bodies: what they refuse, what they remember, and how much they keep."""

import tracemalloc
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pytest

from imsgate.testing import apps, servers
from imsgate.testing.filters.base import FilterChecks, body

#: How many bytes the application reads at a time: what decides may be in two reads.
_READS = (1, 2, 3, 7, 1 << 20)

_HARMLESS = body(99, "harmless")

_LARGE_BYTES = 8 << 20
#: Half of the body: more than that, and it was kept.
_KEPT_BYTES = _LARGE_BYTES // 2
_BLOCK_BYTES = 1 << 16


class _Interrupted(apps.App):
    """Reads ``first`` bytes, lets something else happen, and reads the rest."""

    def __init__(self, first: int, between: Callable[[], object]) -> None:
        super().__init__()
        self._first = first
        self._between = between

    def __call__(self, environ: Any, start_response: Any) -> Iterable[bytes]:
        stream = environ["wsgi.input"]
        self.environs.append(environ)
        read = b""
        while len(read) < self._first and (chunk := stream.read(self._first - len(read))):
            read += chunk
        self._between()
        self.bodies.append(read + apps.by(100)(stream))
        return self.closing(self.answer(environ, start_response))


class _Switch:
    """One filtered application whose part behind the filter changes."""

    def __init__(self, build: Callable[[Any], Any]) -> None:
        self.app: Any = None
        self.filtered = build(self._call)

    def _call(self, environ: Any, start_response: Any) -> Iterable[bytes]:
        answer: Iterable[bytes] = self.app(environ, start_response)
        return answer

    def serve(self, app: Any, request: Any) -> servers.Answer:
        before, self.app = self.app, app
        try:
            return servers.serve(self.filtered, request)
        finally:
            self.app = before


class _Endless(servers.Input):
    """Bytes that are made when they are read."""

    def __init__(self, size: int) -> None:
        super().__init__(b"")
        self._left = size
        self._block = body(_BLOCK_BYTES, "large")

    def read(self, size: int | None = -1) -> bytes:
        count = min(self._left, _BLOCK_BYTES, size if size and size > 0 else _BLOCK_BYTES)
        self._left -= count
        return self._block[:count]


def _drop(stream: Any) -> bytes:
    while stream.read(_BLOCK_BYTES):
        pass
    return b""


class BodyChecks(FilterChecks):
    """Checks of filters that tap; most of them need ``refused_body``."""

    def large_settings(self) -> Mapping[str, str]:
        """Keys in place of ``settings``, with which the filter passes a body of 8 MiB."""
        return self.settings()

    @pytest.mark.parametrize("chunked", [False, True], ids=["Content-Length", "chunked"])
    def test_a_body_is_not_kept_in_memory(
        self, factory: Any, global_conf: Any, chunked: bool
    ) -> None:
        filtered = factory(dict(global_conf), **self.large_settings())(apps.App(_drop))
        request = self.request(_Endless(_LARGE_BYTES), length=_LARGE_BYTES, chunked=chunked)
        if chunked:
            request.pop("CONTENT_LENGTH", None)
        tracemalloc.start()
        try:
            answer = servers.serve(filtered, request, validated=False)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert answer.code == 200, (
            f"the filter must pass a body of {_LARGE_BYTES} bytes for this check; it answered "
            f"{answer.status}. If it limits bodies, define large_settings"
        )
        assert peak < _KEPT_BYTES, (
            f"a filter must not keep the body, which may be larger than the memory; while "
            f"{_LARGE_BYTES} bytes passed, {peak} bytes were kept (doc/filters.md)"
        )

    def test_a_refused_body_is_refused_however_it_is_cut(self, build: Any) -> None:
        """What decides may be in two reads of the application or of the server."""
        data = self._required_body()
        refusal = self._serve(build(apps.ReadFails("passes", 100)), data)
        for size in _READS:
            for step in (None, 1 if len(data) < 1 << 14 else 4099):
                stream = servers.Input(data, step=step)
                answer = self._serve(build(apps.ReadFails("passes", size)), stream)
                assert (answer.status, answer.body) == (refusal.status, refusal.body), (
                    f"a refused body must be refused however it is cut; read by {size} bytes at "
                    f"a time it got {answer.status} instead of {refusal.status}. A pattern may "
                    "be in two chunks (imsgate.http.body.Tap.feed)"
                )

    def test_no_request_decides_about_the_body_of_another(self, build: Any) -> None:
        """A tap belongs to one request."""
        data = self._required_body()
        cuts = [cut for cut in self._cuts(len(data)) if self._halves_pass(build, data, cut)]
        for cut in cuts:
            first, second = data[:cut], data[cut:]
            for size in (cut, 0):
                switch, answers = _Switch(build), list[servers.Answer]()

                def inner(
                    switch: _Switch = switch,
                    answers: list[servers.Answer] = answers,
                    second: bytes = second,
                ) -> None:
                    answers.append(switch.serve(apps.App(apps.by(100)), self._chunked(second)))

                answers.append(switch.serve(_Interrupted(size, inner), self._chunked(first)))
                answers.append(switch.serve(apps.App(apps.by(100)), self._chunked(second)))
                codes = [answer.code for answer in answers]
                assert codes == [200] * 3, (
                    "each request must be judged by its own body; two halves of a refused body, "
                    f"in two requests, got {codes}: a tap was shared by them (Request.tap)"
                )
        harmless = _HARMLESS if self._passes(build, _HARMLESS) else b""
        switch = _Switch(build)

        def other() -> None:
            switch.serve(apps.App(apps.by(100)), self._chunked(harmless))

        for cut in self._cuts(len(data)):
            app = _Interrupted(cut, other)
            answer = switch.serve(app, self._chunked(data))
            assert 400 <= answer.code < 500, (
                "each request must be judged by its own body; a refused one passed, because "
                f"another request came while it was read ({answer.status}): a tap was shared "
                "by them (Request.tap)"
            )

    def _required_body(self) -> bytes:
        data = self.refused_body()
        if data is None:
            pytest.skip("this filter refuses no body by what is in it")
        return data

    def _cuts(self, size: int) -> list[int]:
        return sorted({1, 2, 4, size // 2, size - 1} & {*range(1, size)})

    def _halves_pass(self, build: Any, data: bytes, cut: int) -> bool:
        # Something else between the two, in case all instances of the filter share a tap.
        halves = (data[:cut], _HARMLESS, data[cut:])
        first, _, second = [self._passes(build, half) for half in halves]
        return first and second

    def _passes(self, build: Any, data: bytes) -> bool:
        return self._serve(build(apps.App(apps.by(100))), data).code == 200

    def _chunked(self, data: bytes | servers.Input) -> Any:
        return self.request(data, chunked=True)

    def _serve(self, filtered: Any, data: bytes | servers.Input) -> servers.Answer:
        return servers.serve(filtered, self._chunked(data))
