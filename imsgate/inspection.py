"""The format inspection of a process, configured by the ``[sniff]`` options.

All image data passes the inspector that :func:`shared` returns: uploads, imports and locations.
Equal settings give the same object. The defaults refuse unsafe images only.
"""

import functools
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from oslo_config import cfg, types

from imsgate import errors
from imsgate.formats.checks import CHECKS
from imsgate.formats.inspector import ACCEPTED, InspectionPolicy, Inspector
from imsgate.formats.names import FORMATS, IMAGES, WRAPPERS, Declaration, option_of
from imsgate.settings import Settings

if TYPE_CHECKING:
    from imsgate.model import Image

GROUP = "sniff"

_SETTLED = ("format", "payload", "virtual_size", "size_ratio", "compression")
"""Checks that have options of another form."""

_FINDINGS = tuple(name for name in CHECKS if name not in _SETTLED)


OPTS = (
    cfg.IntOpt(
        "max_virtual_size",
        default=InspectionPolicy().max_virtual_size,
        min=0,
        help="The largest virtual size of an image, in bytes; 0 means no limit.",
    ),
    cfg.FloatOpt(
        "max_ratio",
        default=0,
        min=0,
        help="The largest ratio of an image's virtual size to the size of its file; 0 means no "
        "limit.",
    ),
    cfg.ListOpt(
        "raw_may_hold",
        default=[],
        item_type=types.String(choices=FORMATS),
        help="Formats that may be uploaded with disk_format raw, for instance luks or iso. "
        "accept_NAME has to accept them as well. A "
        "service that probes formats itself would open such an image in its real format, so name "
        "only harmless formats.",
    ),
    *(
        cfg.BoolOpt(
            f"refuse_{name}", default=CHECKS[name].refuse, help=f"Refuse {CHECKS[name].meaning}."
        )
        for name in _FINDINGS
    ),
    *(
        cfg.BoolOpt(option_of(name), default=name in ACCEPTED, help=f"Accept {name}.")
        for name in FORMATS
    ),
)


class InspectionSettings(Settings, group=GROUP, opts=OPTS):
    max_virtual_size: int
    max_ratio: float
    raw_may_hold: list[str]
    refuse: Mapping[str, bool]
    accept: Mapping[str, bool]


def policy(settings: InspectionSettings) -> InspectionPolicy:
    """The policy that the settings describe."""
    refused = {name for name in _FINDINGS if settings.refuse[name]}
    accepted = {
        name for name in FORMATS if settings.accept[option_of(name).removeprefix("accept_")]
    }
    return InspectionPolicy(
        formats=frozenset(accepted),
        refuse=frozenset(refused.union(_SETTLED)),
        raw_may_hold=frozenset(settings.raw_may_hold),
        max_virtual_size=settings.max_virtual_size or None,
        max_ratio=settings.max_ratio or None,
    )


@functools.cache
def _inspector(inspection_policy: InspectionPolicy) -> Inspector:
    return Inspector(inspection_policy)


def shared(settings: InspectionSettings) -> Inspector:
    """The inspector for these settings; every caller in this process gets the same one."""
    return _inspector(policy(settings))


CINDER_KEY = "cinder_encryption_key_id"
"""The property of an encrypted volume that Cinder uploads, as a LUKS device with format raw."""


def declared_format(image: "Image") -> Declaration | None:
    """The format that the data of this image must have; None if any format will do.

    This is its ``disk_format``, except for the containers that wrap the disk (ova, docker,
    compressed). The other containers (ovf, ami, aki, ari) are labels of an unwrapped disk.
    """
    return declaration(image.disk_format, image.container_format, image.properties)


def declaration(
    disk_format: str | None,
    container_format: str | None,
    properties: Mapping[str, Any] = MappingProxyType({}),
) -> Declaration | None:
    """What these fields of a record say about the data; None if nothing."""
    name = container_format if container_format in WRAPPERS else disk_format
    if name == "raw" and properties.get(CINDER_KEY):
        return Declaration("raw", also=frozenset(("luks",)))
    return Declaration(name) if name else None


#: The disk_format of an image that was created without one, by the format of its content.
_DISK_FORMATS = {
    **{name: name for name in IMAGES if name in ACCEPTED},
    "udf": "iso",
}


def fields_from_content(image: "Image", image_info: Any) -> Mapping[str, Any]:
    """The fields of a record that follow from the data.

    ``image_info`` is the result of the inspection, or None without data. A missing disk_format is
    the format of the content. Raises BadImage if there is no data, or if no disk_format stands for
    its format.
    """
    fields = {} if image_info is None else {"virtual_size": image_info.virtual_size}
    if image.container_format is None:
        fields["container_format"] = "bare"
    if image.disk_format is None and image.container_format not in WRAPPERS:
        fields["disk_format"] = disk_format_of_content(image_info)
    return fields


def disk_format_of_content(image_info: Any) -> str:
    """The disk_format of data that was inspected; ``image_info`` is None without data.

    Raises BadImage as ``fields_from_content``.
    """
    content = "raw" if image_info is None else image_info.format
    empty = content == "raw" and image_info is not None and image_info.virtual_size == 0
    if empty or content not in _DISK_FORMATS:
        hint = "Set disk_format to keep an image with this content."
        problem = "there is no content" if empty else f"the content is {content}"
        raise errors.BadImage(check="format", offset=0, problem=problem, hint=hint)
    if content == "raw" and image_info is not None and image_info.virtual_size % 512:
        raise errors.BadImage(
            check="format",
            offset=image_info.virtual_size,
            problem=f"the content has no known format, and its {image_info.virtual_size} bytes "
            "are not a multiple of 512, as those of a raw disk",
            hint="Compare the size of the file with the original, or set disk_format to raw.",
        )
    return _DISK_FORMATS[content]
