"""Responses and failures of the application arrive at the server unchanged."""

import io
from collections.abc import Iterable
from typing import Any

import pytest

from imsgate.testing import apps, servers
from imsgate.testing.filters.base import FilterChecks, body

_APPS = {
    "a list": apps.App,
    "a generator that starts late": apps.Late,
    "write()": apps.Writes,
}

#: Kind of application, and the number of chunks after which it fails; None means that it fails
#: before it starts the response.
_FAILURES = {
    "before it answers": (apps.Fails, None),
    "before its late answer": (apps.LateFails, None),
    "after one chunk": (apps.Fails, 1),
    "after its first, late chunk": (apps.LateFails, 1),
    "after the last chunk": (apps.Fails, 3),
}


class ResponseChecks(FilterChecks):
    """What the server gets."""

    @pytest.mark.parametrize("status", ["200 OK", "299 Odd But Known", "404 Not Found"])
    @pytest.mark.parametrize("kind", _APPS.values(), ids=_APPS)
    def test_an_answer_passes_untouched(self, guarded: Any, kind: Any, status: str) -> None:
        app = kind(apps.by(100), status=status)
        answer = servers.serve(guarded(app), self.request(body(self.SIZE)))
        headers = [(name, text) for name, text in answer.headers if name.lower() not in self.adds]
        assert (answer.status, headers) == (status, app.headers)
        assert [chunk for chunk in answer.chunks if chunk] == list(app.chunks)

    @pytest.mark.parametrize("kind", _APPS.values(), ids=_APPS)
    def test_an_empty_answer_passes(self, guarded: Any, kind: Any) -> None:
        app = kind(status="204 No Content", headers=apps.HEADERS, chunks=())
        answer = servers.serve(guarded(app), self.request())
        assert (answer.status, answer.body) == ("204 No Content", b"")
        assert [answer.closed for answer in app.answers] == [1]

    @pytest.mark.parametrize("kind", [apps.App, apps.Late], ids=["a list", "late"])
    def test_an_answer_is_taken_chunk_by_chunk(self, guarded: Any, kind: Any) -> None:
        app = kind()
        with servers.Exchange(guarded(app), self.request()) as exchange:
            for count in range(1, 4):
                exchange.chunks(1)
                assert app.answers[0].taken <= count
            assert exchange.chunks().body == b"".join(app.chunks)

    @pytest.mark.parametrize("take", [0, 1, None], ids=["none taken", "one taken", "all taken"])
    @pytest.mark.parametrize("kind", _APPS.values(), ids=_APPS)
    def test_an_answer_is_closed_once(self, guarded: Any, kind: Any, take: int | None) -> None:
        app = kind()
        servers.serve(guarded(app), self.request(), take=take)
        assert [answer.closed for answer in app.answers] == [1]

    def test_a_file_stays_the_servers_own_object(self, build: Any) -> None:
        app = apps.SendsFile(io.BytesIO(b"data"))
        request = {**self.request(), "wsgi.file_wrapper": servers.FileWrapper}
        answer = servers.serve(build(app), request, validated=False)
        assert answer.result is app.sent
        assert answer.body == b"data"
        assert app.sent.closed == 1

    @pytest.mark.parametrize(("kind", "after"), _FAILURES.values(), ids=_FAILURES)
    def test_a_failure_of_the_application_passes(
        self, guarded: Any, kind: Any, after: int | None
    ) -> None:
        app = kind(apps.Oops("secret"), after)
        if after is None and self.answers_failures:
            answer = servers.serve(guarded(app), self.request())
            assert answer.code == 500
            assert b"secret" not in answer.body
        else:
            with pytest.raises(apps.Oops):
                servers.serve(guarded(app), self.request())
        assert all(answer.closed == 1 for answer in app.answers)

    def test_an_application_may_change_its_mind(self, guarded: Any) -> None:
        """It may replace its response with exc_info as long as nothing has been sent."""

        def app(environ: Any, start_response: Any) -> Iterable[bytes]:
            start_response("200 OK", list(apps.TEXT))
            try:
                raise apps.Oops
            except apps.Oops as error:
                about = (type(error), error, error.__traceback__)
                start_response("500 Sorry", [("Content-Type", "text/html")], about)
            return [b"sorry"]

        answer = servers.serve(guarded(app), self.request())
        headers = [(name, text) for name, text in answer.headers if name.lower() not in self.adds]
        assert (answer.status, answer.body) == ("500 Sorry", b"sorry")
        assert headers == [("Content-Type", "text/html")]

    def test_an_application_cannot_change_its_mind_too_late(self, guarded: Any) -> None:
        def app(environ: Any, start_response: Any) -> Iterable[bytes]:
            start_response("200 OK", list(apps.TEXT))
            yield b"first"
            try:
                raise apps.Oops
            except apps.Oops as error:
                about = (type(error), error, error.__traceback__)
                start_response("500 Sorry", [("Content-Type", "text/html")], about)
            yield b"sorry"

        with pytest.raises(apps.Oops), servers.Exchange(guarded(app), self.request()) as exchange:
            exchange.chunks()
        assert (exchange.answer.code, exchange.answer.body) == (200, b"first")
