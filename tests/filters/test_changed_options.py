"""Filters obey the options that SIGHUP changes from the next request on."""

import pytest
from paste.deploy import loadwsgi

from imsgate import config
from imsgate.testing import apps, servers
from tests.filters.alone import CREATE, FILE, UPLOAD

DOWNLOAD = {"REQUEST_METHOD": "GET", "PATH_INFO": FILE}


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path)


class Site:
    """A filter whose options are in a configuration file."""

    def __init__(self, directory):
        self.file = directory / "imsgate.conf"
        self.ini = directory / "paste.ini"
        self.global_conf = {"state_path": str(directory), "config_file": str(self.file)}

    def load(self, name, options, app):
        self.ini.write_text(f"[filter:it]\nuse = egg:imsgate#{name}\n")
        self.file.write_text(f"[{name}]\n{options}\n")
        found = loadwsgi.loadfilter(f"config:{self.ini}", "it", global_conf=self.global_conf)
        return found(app)

    def change(self, name, options):
        self.file.write_text(f"[{name}]\n{options}\n")
        config.load(self.global_conf).reload()


@pytest.mark.parametrize(
    ("request_", "first", "second"),
    [
        (UPLOAD, "image_size_cap = 3", "image_size_cap = 4"),
        (UPLOAD, "upload_size_cap = 3", "upload_size_cap = 4"),
        (UPLOAD, "upload_size_cap = 3", ""),
        (CREATE, "max_metadata_size = 3", "max_metadata_size = 4"),
    ],
    ids=str,
)
def test_sizelimit(site, request_, first, second):
    filtered = site.load("sizelimit", first, apps.App(apps.by(1)))

    def code():
        return servers.serve(filtered, servers.environ(b"data", **request_)).code

    assert code() == 413
    site.change("sizelimit", second)
    assert code() == 200
    site.change("sizelimit", first)
    assert code() == 413


@pytest.mark.parametrize(
    ("option", "request_"), [("uploads_at_once", UPLOAD), ("downloads_at_once", DOWNLOAD)]
)
def test_pace(site, option, request_):
    """A second request is sent while the first one is in progress."""
    inner, codes = apps.App(apps.by(1)), []

    def app(environ, start_response):
        if not codes:
            codes.append(None)  # the second one is answered at once
            codes[:] = [send()]
        return inner(environ, start_response)

    filtered = site.load("pace", f"{option} = 1", app)

    def send():
        return servers.serve(filtered, servers.environ(b"data", **request_)).code

    def second():
        codes.clear()
        assert send() == 200
        return codes[0]

    assert second() == 503
    site.change("pace", f"{option} = 2")
    assert second() == 200
    site.change("pace", f"{option} = 1")
    assert second() == 503
