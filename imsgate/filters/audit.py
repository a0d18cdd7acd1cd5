"""A CADF event for each request and each response: keystonemiddleware's ``audit`` as a filter of
imsgate.

::

    [filter:audit]
    use = egg:imsgate#audit
    audit_map_file = %(here)s/imsgate_audit_map.conf

After ``authtoken``, whose variables it reports. Its options are those of
``[audit_middleware_notifications]``. Without oslo.messaging the events are written to the log, at
INFO, even though oslo.log shows only warnings of keystonemiddleware by default.
"""

import logging
import warnings
from collections.abc import Callable
from typing import Any

from keystonemiddleware import audit

from imsgate import config
from imsgate.errors import BadConfig
from imsgate.http.wsgi import WsgiApp

#: Keys that it takes from the Paste file only. It logs a warning that it does not know them.
_PASTE_KEYS = (
    "audit_map_file",
    "ignore_path_list",
    "ignore_req_list",
    "log_name",
    "service_name",
)


def _is_justified(record: logging.LogRecord) -> bool:
    return record.args not in [(name,) for name in _PASTE_KEYS]


def filter_factory(global_conf: dict[str, str], **local_conf: str) -> Callable[[WsgiApp], WsgiApp]:
    """The ``paste.filter_factory``. Raises BadConfig for an invalid map file."""
    logging.getLogger("keystonemiddleware._common.config").addFilter(_is_justified)
    # pycadf says that its own default identifiers should be UUIDs.
    warnings.filterwarnings("ignore", "Invalid uuid", UserWarning)
    events = logging.getLogger(local_conf.get("log_name", audit.__name__))
    if events.level == logging.NOTSET:  # not in [DEFAULT] default_log_levels
        events.setLevel(logging.INFO)
    conf: dict[str, Any] = {**local_conf, "oslo_config_config": config.load(global_conf).native}

    def build(app: WsgiApp) -> WsgiApp:
        try:
            made: WsgiApp = audit.AuditMiddleware(app, **conf)
        except (audit.PycadfAuditApiConfigError, OSError) as error:
            raise BadConfig("audit.audit_map_file", str(error)) from error
        return made

    return build
