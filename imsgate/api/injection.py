"""Properties that the operator adds to imported images: Glance's ``inject_image_metadata``."""

import dataclasses
from collections.abc import Mapping

from oslo_config import cfg

from imsgate.config import Config
from imsgate.conversion.settings import INJECTION, PluginSettings
from imsgate.errors import BadConfig, Error
from imsgate.model import Identity
from imsgate.records.attributes import check_settable, is_custom
from imsgate.settings import Settings

#: Group and names are Glance's.
GROUP = "inject_metadata_properties"
OPTS = (
    cfg.ListOpt(
        "ignore_user_roles",
        default=["admin"],
        help="Users with one of these roles import images without the properties of inject.",
    ),
    cfg.DictOpt(
        "inject",
        default={},
        help="Properties that are added to each imported image, replacing those of the same name: "
        "name:value,name:value. [image_import_opts] image_import_plugins must contain "
        "inject_image_metadata.",
    ),
)


class InjectionSettings(Settings, group=GROUP, opts=OPTS):
    """The options of ``[inject_metadata_properties]``."""

    ignore_user_roles: list[str]
    inject: dict[str, str]


@dataclasses.dataclass(frozen=True, slots=True)
class Injection:
    """What is added to the images of imports."""

    properties: Mapping[str, str]
    ignored_roles: frozenset[str]

    def of(self, who: Identity) -> Mapping[str, str]:
        """The properties of an image that this user imports."""
        return {} if self.ignored_roles & who.roles else self.properties


def load(conf: Config) -> Injection:
    """The configured injection. Raises BadConfig if no image can have one of the properties."""
    settings = conf.read(InjectionSettings)
    for name in settings.inject:
        try:
            check_settable(name)
        except Error as error:
            raise BadConfig(f"[{GROUP}] inject", f"{name}: {error}") from error
        if not is_custom(name):
            raise BadConfig(f"[{GROUP}] inject", f"{name} is not a custom property")
    is_on = INJECTION in conf.read(PluginSettings).image_import_plugins
    return Injection(settings.inject if is_on else {}, frozenset(settings.ignore_user_roles))
