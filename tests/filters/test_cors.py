"""cors: which pages of other origins a browser lets use the service."""

import pytest

from imsgate.errors import BadConfig
from imsgate.filters import cors
from imsgate.testing import FilterContract, apps, servers

HORIZON = "https://horizon.example"
ON = {"allowed_origin": HORIZON}


class TestCors(FilterContract):
    @pytest.fixture
    def factory(self):
        return cors.filter_factory

    def settings(self):
        return ON


class TestCorsOfAnOrigin(TestCors):
    adds = frozenset(
        {
            "vary",
            "access-control-allow-origin",
            "access-control-allow-credentials",
            "access-control-expose-headers",
        }
    )

    def passing(self):
        return {**super().passing(), "HTTP_ORIGIN": HORIZON}


class Answers(apps.App):
    """An application with response headers of its own."""

    def __init__(self, *headers):
        super().__init__()
        self.more = headers

    def __call__(self, environ, start_response):
        def start(status, headers, *exc_info):
            return start_response(status, [*headers, *self.more], *exc_info)

        return super().__call__(environ, start)


def built(tmp_path, app, file="", **local_conf):
    name = tmp_path / "imsgate.conf"
    name.write_text(file)
    return cors.filter_factory({"config_file": str(name)}, **local_conf)(app)


def asked(filtered, origin=HORIZON, method="PUT", headers="x-auth-token, content-type"):
    """What a browser is told before the request."""
    entries = {
        "REQUEST_METHOD": "OPTIONS",
        "HTTP_ORIGIN": origin,
        "HTTP_ACCESS_CONTROL_REQUEST_METHOD": method,
        "HTTP_ACCESS_CONTROL_REQUEST_HEADERS": headers,
    }
    return servers.serve(filtered, servers.environ(**entries))


@pytest.mark.parametrize("where", ["file", "paste"])
def test_a_browser_may_ask_first(tmp_path, where):
    app = apps.App()
    how = {"file": f"[cors]\nallowed_origin = {HORIZON}\n"} if where == "file" else ON
    answer = asked(built(tmp_path, app, **how))
    assert (answer.code, answer.body) == (200, b"")
    assert answer.header("Access-Control-Allow-Origin") == HORIZON
    assert answer.header("Access-Control-Allow-Methods") == "PUT"
    assert answer.header("Access-Control-Allow-Headers") == "x-auth-token,content-type"
    assert answer.header("Access-Control-Max-Age") == "3600"
    assert not app.called


def test_a_page_may_send_an_idempotency_key(tmp_path):
    answer = asked(built(tmp_path, apps.App(), **ON), method="POST", headers="idempotency-key")
    assert answer.header("Access-Control-Allow-Headers") == "idempotency-key"


@pytest.mark.parametrize(
    "question",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": HORIZON + "/"},
        {"method": "TRACE"},
        {"headers": "x-evil"},
    ],
    ids=str,
)
def test_other_origins_get_no_headers(tmp_path, question):
    answer = asked(built(tmp_path, apps.App(), **ON), **question)
    assert answer.code == 200
    assert not [name for name, _ in answer.headers if name.lower().startswith("access-control")]


def get(filtered, **entries):
    return servers.serve(filtered, servers.environ(REQUEST_METHOD="GET", **entries))


def test_a_page_may_read_the_answer(tmp_path):
    answer = get(built(tmp_path, apps.App(), **ON), HTTP_ORIGIN=HORIZON)
    assert answer.header("Access-Control-Allow-Origin") == HORIZON
    assert answer.header("Vary") == "Origin"
    assert "X-OpenStack-Request-ID" in answer.header("Access-Control-Expose-Headers")


@pytest.mark.parametrize("entries", [{}, {"HTTP_ORIGIN": "https://evil.example"}], ids=str)
def test_other_answers_are_left_alone(tmp_path, entries):
    plain = get(apps.App())
    answer = get(built(tmp_path, apps.App(), **ON), **entries)
    assert answer.headers == plain.headers


def test_what_an_application_says_itself_stays(tmp_path):
    own = Answers(("Access-Control-Allow-Origin", "https://own.example"))
    answer = get(built(tmp_path, own, **ON), HTTP_ORIGIN=HORIZON)
    assert [text for name, text in answer.headers if name == "Access-Control-Allow-Origin"] == [
        "https://own.example"
    ]
    varied = get(built(tmp_path, Answers(("Vary", "Accept")), **ON), HTTP_ORIGIN=HORIZON)
    assert varied.header("Vary") == "Accept,Origin"


def test_it_is_not_there_when_it_does_nothing(tmp_path):
    app = apps.App()
    assert built(tmp_path, app) is app


@pytest.mark.parametrize("wrong", [{"max_age": "long"}, {"allowed_origins": HORIZON}])
def test_wrong_settings_are_named(tmp_path, wrong):
    with pytest.raises(BadConfig, match=r"cors\.(max_age|allowed_origins)"):
        built(tmp_path, apps.App(), **wrong)
