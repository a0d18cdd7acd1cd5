"""The pipeline for any WSGI server: ``imsgate.wsgi_app:application``.

Environment variables: ``IMSGATE_PASTE`` (a Paste file), ``IMSGATE_CONFIG_FILE`` (files
separated by commas) and ``IMSGATE_STATE`` (a directory). Their defaults are those of
``imsgate serve``. The database must exist (``imsgate db upgrade``).
"""

import atexit
import os

from gunicorn.errors import AppImportError

from imsgate import config
from imsgate.errors import BadConfig
from imsgate.http.wsgi import WsgiApp
from imsgate.server import life, pastefile
from imsgate.server.uwsgi import ChunkedInput

_VARIABLES = {"config_file": "IMSGATE_CONFIG_FILE", "state_path": "IMSGATE_STATE"}


def _load() -> WsgiApp:
    global_conf = {
        key: os.environ[name] for key, name in _VARIABLES.items() if os.environ.get(name)
    }
    conf = config.load(global_conf)
    conf.set_up_log()
    paste = pastefile.uri(conf, os.environ.get("IMSGATE_PASTE"))
    app = pastefile.load(paste, global_conf)
    conf.log_unread()
    parts = pastefile.loaded_parts(paste, global_conf)
    has_gate = pastefile.has_app(parts, "imsgate.app:app_factory")
    life.log_start(conf, "serves as a WSGI application", with_services=has_gate)
    atexit.register(life.log_stop)
    try:
        import uwsgi  # noqa: PLC0415 - exists only inside that server
    except ImportError:
        return app
    return ChunkedInput(app, uwsgi.chunked_read)


try:
    application = _load()
except BadConfig as problem:
    # The only exception that makes gunicorn stop with a single line. After a SystemExit, it
    # starts another worker, again and again.
    raise AppImportError(f"imsgate: {problem}") from None
