"""One CADF event per request and per answer: keystonemiddleware's ``audit``, at home in imsgate.

::

    [filter:audit]
    use = egg:imsgate#audit
    audit_map_file = %(here)s/imsgate_audit_map.conf

Behind ``authtoken``, whose variables it reports. Its options are those of
``[audit_middleware_notifications]``; without oslo.messaging the events go to the log.
"""

import logging
from collections.abc import Callable
from typing import Any

from keystonemiddleware import audit

from imsgate import config
from imsgate.errors import BadConfig
from imsgate.http.wsgi import WsgiApp

#: What it takes from the Paste file alone, and each time warns not to know.
_OWN = ("audit_map_file", "ignore_path_list", "ignore_req_list", "log_name", "service_name")


def _is_news(record: logging.LogRecord) -> bool:
    return record.args not in [(name,) for name in _OWN]


def filter_factory(global_conf: dict[str, str], **local_conf: str) -> Callable[[WsgiApp], WsgiApp]:
    """The ``paste.filter_factory``. Raises BadConfig for a map that cannot be used."""
    logging.getLogger("keystonemiddleware._common.config").addFilter(_is_news)
    conf: dict[str, Any] = {**local_conf, "oslo_config_config": config.load(global_conf).native}

    def build(app: WsgiApp) -> WsgiApp:
        try:
            made: WsgiApp = audit.AuditMiddleware(app, **conf)
        except (audit.PycadfAuditApiConfigError, OSError) as error:
            raise BadConfig("audit.audit_map_file", str(error)) from error
        return made

    return build
