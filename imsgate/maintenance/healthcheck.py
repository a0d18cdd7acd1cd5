"""What oslo.middleware's health check says of read-only mode.

::

    [app:healthcheck]
    paste.app_factory = oslo_middleware:Healthcheck.app_factory
    backends = imsgate_read_only
"""

from typing import Any

from oslo_middleware.healthcheck import pluginbase

from imsgate import config
from imsgate.maintenance.read_only import MaintenanceSettings, is_host_read_only


class ReadOnlyHealthcheck(pluginbase.HealthcheckBaseExtension):
    """Says READ ONLY while the file makes this host read-only.

    The host stays available, because it answers reads. It does not ask the database: a health
    check must not fail because of it on all hosts at once.
    """

    def __init__(self, oslo_conf: Any, conf: dict[str, Any]) -> None:
        """``conf`` contains Paste's global section."""
        super().__init__(oslo_conf, conf)
        self._settings = config.load(conf).read(MaintenanceSettings)

    def healthcheck(self, server_port: int) -> pluginbase.HealthcheckResult:
        reason = "READ ONLY" if is_host_read_only(self._settings) else "OK"
        return pluginbase.HealthcheckResult(available=True, reason=reason)
