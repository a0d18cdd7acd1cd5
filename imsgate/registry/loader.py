"""The registry that the configuration names."""

from oslo_config import cfg

from imsgate import plugins
from imsgate.config import Config
from imsgate.registry.base import Registry
from imsgate.settings import Settings

OPTS = (
    cfg.StrOpt(
        "driver",
        default="sql",
        help="Entry point in imsgate.registries of the driver that stores image records.",
    ),
)


class RegistrySettings(Settings, group="registry", opts=OPTS):
    driver: str


def load_registry(conf: Config) -> Registry:
    """The registry that ``[registry] driver`` names. Raises BadConfig."""
    name = conf.read(RegistrySettings).driver
    kind = plugins.find("imsgate.registries", name, "[registry] driver")
    registry: Registry = kind(conf.section("database", kind.OPTS))
    return registry
