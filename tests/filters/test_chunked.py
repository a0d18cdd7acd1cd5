"""chunked: under uWSGI, filters and application read the same body."""

import sys
import types

import pytest

from imsgate.filters import chunked
from imsgate.testing import FilterContract, apps
from tests.filters.alone import IMAGE, put


class TestChunked(FilterContract):
    @pytest.fixture
    def factory(self):
        return chunked.filter_factory


@pytest.fixture
def uwsgi(monkeypatch):
    """uWSGI's module, with a body in chunks."""
    chunks = [b"first", b"second", b""]
    module = types.ModuleType("uwsgi")
    module.chunked_read = lambda: chunks.pop(0)
    monkeypatch.setitem(sys.modules, "uwsgi", module)


CHUNKED = {"HTTP_TRANSFER_ENCODING": "Chunked", "CONTENT_LENGTH": ""}


def test_filters_and_application_find_the_decoded_body(alone, uwsgi):
    app = apps.App(apps.by(4))
    assert put(alone("chunked", app), **CHUNKED).code == 200
    assert app.bodies == [b"firstsecond"]
    (environ,) = app.environs
    # Glance would ask uWSGI for the body, past all filters.
    assert "HTTP_TRANSFER_ENCODING" not in environ
    assert environ["wsgi.input_terminated"]


@pytest.mark.parametrize(
    "entries",
    [
        pytest.param({}, id="known-length"),
        pytest.param({**CHUNKED, "PATH_INFO": IMAGE}, id="metadata"),
        pytest.param({**CHUNKED, "CONTENT_LENGTH": "5"}, id="both"),
        pytest.param({**CHUNKED, "wsgi.input_terminated": True}, id="decoded-by-the-server"),
    ],
)
def test_other_requests_are_left_alone(alone, uwsgi, entries):
    app = apps.App(apps.nothing)
    put(alone("chunked", app), b"", **entries)
    (environ,) = app.environs
    assert environ.get("HTTP_TRANSFER_ENCODING") == entries.get("HTTP_TRANSFER_ENCODING")
