"""The ``paste.app_factory`` of ``egg:imsgate#forward``."""

from imsgate import config
from imsgate.config import DefaultSettings
from imsgate.forward.application import Forward
from imsgate.forward.settings import ForwardSettings
from imsgate.http.wsgi import WsgiApp
from imsgate.maintenance.read_only import Guarded, MaintenanceSettings, ReadOnlyMode


def app_factory(global_conf: dict[str, str], **local_conf: str) -> WsgiApp:
    """The forwarder, with a spool in front of it if there is one. Keys are options of
    ``[forward]``. Raises BadConfig, naming the option."""
    conf = config.load(global_conf)
    settings = conf.read(ForwardSettings, local_conf)
    forward = Forward(settings, conf.read(DefaultSettings).public_endpoint)
    if not settings.spool_store:
        # Without a database, only the file makes it read-only.
        return Guarded(forward, ReadOnlyMode(None, conf.read(MaintenanceSettings)))
    # A forwarder without a spool needs neither a database nor these modules.
    from imsgate.spool.application import make_application  # noqa: PLC0415

    return make_application(conf, settings, forward)
