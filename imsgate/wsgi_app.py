"""The pipeline for any WSGI server: ``imsgate.wsgi_app:application``.

Environment: ``IMSGATE_PASTE`` (a Paste file), ``IMSGATE_CONFIG_FILE`` (files
separated by commas) and ``IMSGATE_STATE`` (a directory); each defaults as for
``imsgate serve``. The database must have been made (``imsgate db upgrade``).
"""

import os

from oslo_log import log
from paste.deploy import loadwsgi

from imsgate import config
from imsgate.cmd import common

_NAMES = {"config_file": "IMSGATE_CONFIG_FILE", "state_path": "IMSGATE_STATE"}
_global_conf = {key: os.environ[name] for key, name in _NAMES.items() if os.environ.get(name)}

log.setup(config.load(_global_conf).native, config.PROJECT)
application = loadwsgi.loadapp(
    f"config:{common.paste_file(os.environ.get('IMSGATE_PASTE'))}", global_conf=_global_conf
)
