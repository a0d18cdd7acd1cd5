"""A refused request does not reach the application."""

import os
import re
from typing import Any

import pytest

from imsgate.testing import apps, servers
from imsgate.testing.filters.base import FilterChecks, body

_INSIDE = re.compile(r"Traceback \(most recent|File \"[^\"]+\", line|\b\w+\.py\b")


def _paths(*more: str) -> re.Pattern[str]:
    """Absolute paths of this host. The path of a URL does not match."""
    tops = [re.escape(name) for name in os.listdir("/") if len(name) > 1]
    known = "|".join(["etc", "home", "opt", "srv", "tmp", "usr", "var", *tops])
    exact = "|".join(re.escape(text) for text in (os.getcwd(), *more) if len(text) > 1)
    return re.compile(rf"{exact}|(?<![\w:/.])/(?:{known})/[^\s'\"<]+")


class RefusalChecks(FilterChecks):
    """Refusals before and while the application reads."""

    def test_a_refusal_is_the_filters_alone(self, guarded: Any) -> None:
        app = apps.App(apps.by(100))
        stream = servers.Input(body(self.SIZE))
        request = {**self.request(stream, length=self.SIZE), **self.required_refusal()}
        answer = servers.serve(guarded(app), request)
        assert 400 <= answer.code < 500, (
            f"a refusal is an answer of 400 to 499; this one is {answer.status} (Filter.check)"
        )
        assert not app.called, "a refused request must not reach the application (Filter.check)"
        assert stream.asked == 0, "a refused body must not be read (Filter.check)"

    def test_a_refusal_reveals_nothing(self, guarded: Any, tmp_path: Any) -> None:
        refused, data = self.refused(), self.refused_body()
        if refused is None and data is None:
            pytest.skip("this filter refuses nothing")
        answers = []
        if refused is not None:
            app = guarded(apps.App(apps.by(100)))
            answers.append(servers.serve(app, {**self.request(body(self.SIZE)), **refused}))
        if data is not None:
            app = guarded(apps.ReadFails("passes", 100))
            answers.append(servers.serve(app, self.request(data, chunked=True)))
        for answer in answers:
            text = f"{answer.headers} {answer.body.decode(errors='replace')}"
            found = [*_paths(str(tmp_path)).findall(text), *_INSIDE.findall(text)]
            found += [private for private in self.private() if private in text]
            assert not found, (
                "a refusal must contain no paths of this host, no traceback and no secrets; "
                f"{answer.status} contains {found} (doc/filters.md)"
            )

    @pytest.mark.parametrize("how", apps.ReadFails.HOW)
    def test_a_refused_body_is_refused_whatever_the_application_does(
        self, build: Any, how: str
    ) -> None:
        data = self.refused_body()
        if data is None:
            pytest.skip("this filter refuses no body by what is in it")
        filtered = build(apps.ReadFails("passes", 100))
        refusal = servers.serve(filtered, self.request(data, chunked=True))
        assert 400 <= refusal.code < 500
        app = apps.ReadFails(how, 100)
        answer = servers.serve(build(app), self.request(data, chunked=True))
        assert (answer.status, answer.body) == (refusal.status, refusal.body)
        assert app.bodies == []
        assert all(response.closed == 1 for response in app.answers)
