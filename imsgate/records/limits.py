"""How many properties and tags one image may have."""

from collections.abc import Collection, Mapping

from imsgate import errors
from imsgate.records.attributes import RESERVED_PREFIX
from imsgate.records.settings import ApiSettings

#: Total size of an image's properties, names included, in UTF-8: one page holds many images.
MAX_PROPERTY_BYTES = 1 << 17


def check_properties(properties: Mapping[str, str], settings: ApiSettings) -> None:
    """Raises QuotaExceeded if there are too many properties; Glance's own do not count."""
    own = [name for name in properties if not name.startswith(RESERVED_PREFIX)]
    _check("properties of an image", len(own), settings.image_property_quota)


def check_property_bytes(properties: Mapping[str, str]) -> None:
    """Raises QuotaExceeded if the properties are larger than MAX_PROPERTY_BYTES in total."""
    size = sum(len(text.encode()) for pair in properties.items() for text in pair)
    _check("bytes of properties of an image", size, MAX_PROPERTY_BYTES)


def check_tags(tags: Collection[str], settings: ApiSettings) -> None:
    """Raises TagQuotaExceeded."""
    limit = settings.image_tag_quota
    _check("tags of an image", len(tags), limit, errors.TagQuotaExceeded)


def _check(
    resource: str,
    count: int,
    limit: int,
    error: type[errors.QuotaExceeded] = errors.QuotaExceeded,
) -> None:
    """Raises ``error`` if there are more than ``limit``; a negative limit means unlimited."""
    if 0 <= limit < count:
        raise error(resource=resource, limit=f"{limit} allowed, {count} asked for")
