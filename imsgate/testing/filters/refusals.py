"""A refused request does not reach the application."""

from typing import Any

import pytest

from imsgate.testing import apps, servers
from imsgate.testing.filters.base import FilterChecks, body


class RefusalChecks(FilterChecks):
    """Refusals before and while the application reads."""

    def test_a_refusal_is_the_filters_alone(self, guarded: Any) -> None:
        app = apps.App(apps.by(100))
        stream = servers.Input(body(self.SIZE))
        request = {**self.request(stream, length=self.SIZE), **self.required_refusal()}
        answer = servers.serve(guarded(app), request)
        assert 400 <= answer.code < 500
        assert not app.called
        assert stream.asked == 0

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
