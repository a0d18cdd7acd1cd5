"""What an image takes over from the record of an image in another region (``glance-download``)."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from imsgate import errors
from imsgate.config import Config
from imsgate.model import Identity, Image, Job
from imsgate.records import limits, operations
from imsgate.records.attributes import check_settable, is_custom
from imsgate.records.operations import Operation
from imsgate.records.protections import Protections
from imsgate.records.settings import ApiSettings, FormatSettings, GlanceDownloadSettings

#: The size of Glance's column.
_MAX_VALUE_CHARACTERS = 65535


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RemoteFields:
    """``user(job)`` returns the user who asked for a job as Keystone reports it now."""

    settings: GlanceDownloadSettings
    formats: FormatSettings
    limits: ApiSettings
    protections: Protections
    user: Callable[[Job], Identity]

    def __call__(self, job: Job, image: Image, record: Mapping[str, Any]) -> dict[str, Any]:
        """The formats, and ``properties`` to be added to the image's own.

        Raises SourceFailed for a format that is not accepted here, Reserved for a property that
        the user may not set, QuotaExceeded, and what ``user`` raises.
        """
        formats = {
            "disk_format": _accepted("disk_format", record, self.formats.disk_formats),
            "container_format": _accepted(
                "container_format", record, self.formats.container_formats
            ),
        }
        copied = {name: value for name, value in record.items() if self._is_copied(name, value)}
        added = [Operation("add", name, value) for name, value in copied.items()]
        fields = operations.apply(image, added, self.protections.of(self.user(job)))
        properties = fields.get("properties", image.properties)
        limits.check_properties(properties, self.limits)
        limits.check_property_bytes(properties)
        return {**formats, "properties": copied}

    def _is_copied(self, name: str, value: Any) -> bool:
        if not is_custom(name) or not name.startswith(tuple(self.settings.extra_properties)):
            return False
        try:
            check_settable(name)
        except errors.Error:
            return False
        return isinstance(value, str) and len(value) <= _MAX_VALUE_CHARACTERS


def load(
    conf: Config, api: ApiSettings, protections: Protections, user: Callable[[Job], Identity]
) -> RemoteFields:
    """What the configuration lets images take over; the rest is as in RemoteFields."""
    return RemoteFields(
        settings=conf.read(GlanceDownloadSettings),
        formats=conf.read(FormatSettings),
        limits=api,
        protections=protections,
        user=user,
    )


def _accepted(name: str, record: Mapping[str, Any], accepted: list[str]) -> str:
    value = record.get(name)
    if value not in accepted:
        raise errors.SourceFailed(problem=f"its {name} {str(value)[:64]!r} is not accepted here")
    return str(value)
