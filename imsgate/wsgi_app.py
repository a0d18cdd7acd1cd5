"""The pipeline for any WSGI server: ``imsgate.wsgi_app:application``.

Environment: ``IMSGATE_PASTE`` (a Paste file), ``IMSGATE_CONFIG_FILE`` (files
separated by commas) and ``IMSGATE_STATE`` (a directory); each defaults as for
``imsgate serve``. The database must have been made (``imsgate db upgrade``).
"""

import os
from typing import Any

from gunicorn.errors import AppImportError
from paste.deploy import loadwsgi

from imsgate import config
from imsgate.errors import BadConfig
from imsgate.server import pastefile
from imsgate.server.uwsgi import ChunkedInput

_NAMES = {"config_file": "IMSGATE_CONFIG_FILE", "state_path": "IMSGATE_STATE"}


def _load() -> Any:
    values = {key: os.environ[name] for key, name in _NAMES.items() if os.environ.get(name)}
    conf = config.load(values)
    conf.set_up_log()
    paste = pastefile.uri(conf, os.environ.get("IMSGATE_PASTE"))
    try:
        app = loadwsgi.loadapp(paste, global_conf=values)
    except (LookupError, ImportError) as error:
        raise pastefile.unloadable(paste, error) from error
    conf.log_unread()
    try:
        import uwsgi  # noqa: PLC0415 - exists only inside that server
    except ImportError:
        return app
    return ChunkedInput(app, uwsgi.chunked_read)


try:
    application = _load()
except BadConfig as problem:
    # Of all exceptions the one by which gunicorn ends with one line. A SystemExit has it
    # start the next worker, and that one, for ever.
    raise AppImportError(f"imsgate: {problem}") from None
