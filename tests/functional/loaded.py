"""What ``programs`` runs, with all that it loads before it does anything."""

import contextlib
import gc
import importlib
import io

import glanceclient.shell
import openstackclient.shell
from gunicorn.app import wsgiapp

from imsgate.cmd import main


def _serve_cheroot() -> None:
    from tests.functional import serve_cheroot  # noqa: PLC0415 - loads the application

    serve_cheroot.main()


def _serve_keystone() -> None:
    from tests.functional import serve_keystone  # noqa: PLC0415 - few processes need it

    serve_keystone.main()


def _manage_keystone() -> None:
    from keystone.cmd import manage  # noqa: PLC0415 - few processes need it

    manage.main()


def _serve_wsgiref() -> None:
    from tests.functional import serve_wsgiref  # noqa: PLC0415 - loads the application

    serve_wsgiref.main()


PROGRAMS = {
    "openstack": openstackclient.shell.main,
    "glance": glanceclient.shell.main,
    "imsgate": main.main,
    "gunicorn": wsgiapp.run,
    "cheroot": _serve_cheroot,
    "keystone": _serve_keystone,
    "keystone-manage": _manage_keystone,
    "wsgiref": _serve_wsgiref,
}

LOADED = (
    "glanceclient.v2.shell",
    *(f"imsgate.cmd.{name}" for name in "db download metrics serve upload uploads worker".split()),
    *(f"imsgate.filters.{name}" for name in "authtoken cors encoding faults identity".split()),
    *(
        f"imsgate.filters.{name}"
        for name in "headers metrics pace proxy sizelimit sniff tokens".split()
    ),
    *("imsgate.app", "imsgate.page.page", "imsgate.jobs.engine"),
    *(
        "imsgate.registry.sql",
        "sqlalchemy.dialects.sqlite",
        "imsgate.stores.filesystem",
        "imsgate.stores.memory",
    ),
    *("imsgate.client.connection", "imsgate.client.uploading", "imsgate.client.downloading"),
    *("imsgate.stores.s3", "imsgate.stores.s3.resumable", "boto3.s3.inject"),
    *("cheroot.wsgi", "gunicorn.workers.gthread", "openstack.config", "rich.progress"),
)

for module in LOADED:
    importlib.import_module(module)
# To explain a command, it loads all commands and looks who brought them.
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
    openstackclient.shell.main(["image", "list", "--help"])
# Otherwise the collector of each fork writes to all of these objects, and so copies their memory.
gc.freeze()
