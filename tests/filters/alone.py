"""One filter alone, as an operator would put it in front of an application of his own."""

import pytest
from paste.deploy import loadwsgi

from imsgate.testing import servers

IMAGE = "/v2/images/71c675ab-d94f-49cd-a114-e12490b328d9"
FILE = f"{IMAGE}/file"
UPLOAD = {
    "REQUEST_METHOD": "PUT",
    "PATH_INFO": FILE,
    "CONTENT_TYPE": "application/octet-stream",
}
CREATE = {
    "REQUEST_METHOD": "POST",
    "PATH_INFO": "/v2/images",
    "CONTENT_TYPE": "application/json",
}


@pytest.fixture
def alone(tmp_path):
    """Load a filter by its entry point from a Paste file, with options, before an app."""

    def load(name, app, **options):
        lines = ["[filter:it]", f"use = egg:imsgate#{name}"]
        lines += [f"{key} = {text}" for key, text in options.items()]
        ini = tmp_path / "paste.ini"
        ini.write_text("\n".join(lines))
        state = {"state_path": str(tmp_path)}
        return loadwsgi.loadfilter(f"config:{ini}", "it", global_conf=state)(app)

    return load


def put(app, data=b"", **entries):
    """Upload ``data``, bytes or a servers.Input, and return the answer."""
    how = {key: entries.pop(key) for key in ("length", "chunked", "take") if key in entries}
    take = how.pop("take", None)
    return servers.serve(app, servers.environ(data, **how, **{**UPLOAD, **entries}), take=take)


def post(app, data=b"{}", **entries):
    """A metadata call."""
    return servers.serve(app, servers.environ(data, **{**CREATE, **entries}))


def refused(answer, app, status, reason):
    """The refusal is this one, and the application never knew."""
    assert (answer.code, answer.reason) == (status, reason)
    assert not app.called
