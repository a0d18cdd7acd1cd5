"""The forwarder in front of a scripted upstream."""

import contextlib

import pytest

from imsgate.forward.application import Forward
from imsgate.forward.settings import ForwardSettings
from imsgate.testing import servers

IMAGE = "/v2/images/71c675ab-d94f-49cd-a114-e12490b328d9"


@pytest.fixture
def forwards():
    """Builds forwarders, whose connections are closed at the end. Timeouts are far away."""
    with contextlib.ExitStack() as stack:

        def build(upstream, public_endpoint=None, **settings):
            far = {
                name: 60.0
                for name in ("connect", "continue", "idle", "response", "commit")
                if f"{name}_timeout" not in settings
            }
            values = {f"{name}_timeout": seconds for name, seconds in far.items()}
            url = upstream if isinstance(upstream, str) else upstream.url
            record = ForwardSettings(**{"upstream": url, "chunked": True} | values | settings)
            app = Forward(record, public_endpoint)
            stack.callback(app.pool.close)
            return app

        yield build


def request(method="GET", path=IMAGE, body=b"", **entries):
    return servers.environ(body, REQUEST_METHOD=method, PATH_INFO=path, **entries)


def upload(body, **entries):
    entries = {"CONTENT_TYPE": "application/octet-stream", **entries}
    return request("PUT", f"{IMAGE}/file", body, **entries)


def served(app, environ, upstream=None):
    """The whole response; an upstream that waits goes on afterwards."""
    try:
        return servers.serve(app, environ, validated=False)
    finally:
        if upstream is not None:
            upstream.answered.set()
