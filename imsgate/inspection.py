"""The one gate of a process, built from the operator's ``[sniff]`` options.

Whatever way image bytes come in, they pass the gate that :func:`shared` returns: equal
settings give the same object. Defaults refuse what is unsafe and accept what is not.
"""

import functools
from collections.abc import Mapping
from typing import Any

from oslo_config import cfg, types

from imsgate import errors
from imsgate.formats.checks import CHECKS
from imsgate.formats.inspector import ACCEPTED, InspectionPolicy, Inspector
from imsgate.formats.names import FORMATS, IMAGES, WRAPPERS
from imsgate.model import Image

GROUP = "sniff"

_SETTLED = ("format", "payload", "virtual_size", "size_ratio", "compression")
"""Checks that have options of another form."""

_FINDINGS = tuple(name for name in CHECKS if name not in _SETTLED)


def _option(name: str) -> str:
    return name.replace("-", "_")


OPTS = (
    cfg.IntOpt(
        "max_virtual_size",
        default=InspectionPolicy().max_virtual_size,
        min=0,
        help="The largest disk an image may describe, in bytes; 0 is no limit.",
    ),
    cfg.FloatOpt(
        "max_ratio",
        default=0,
        min=0,
        help="How many times the size of its file a disk may be at most; 0 is no limit.",
    ),
    cfg.ListOpt(
        "raw_may_hold",
        default=[],
        item_type=types.String(choices=IMAGES),
        help="Formats whose content may be declared raw, for instance luks or iso. A service that "
        "probes formats itself would open them as what they are: name only harmless ones.",
    ),
    *(
        cfg.BoolOpt(
            f"refuse_{name}", default=CHECKS[name].refuse, help=f"Refuse {CHECKS[name].meaning}."
        )
        for name in _FINDINGS
    ),
    *(
        cfg.BoolOpt(f"accept_{_option(name)}", default=name in ACCEPTED, help=f"Accept {name}.")
        for name in FORMATS
    ),
)


def policy(settings: Any) -> InspectionPolicy:
    """The policy that the values of :data:`OPTS` describe."""
    refused = {name for name in _FINDINGS if getattr(settings, f"refuse_{name}")}
    accepted = {n for n in FORMATS if getattr(settings, f"accept_{_option(n)}")}
    return InspectionPolicy(
        formats=frozenset(accepted),
        refuse=frozenset(refused.union(_SETTLED)),
        raw_may_hold=frozenset(settings.raw_may_hold),
        max_virtual_size=settings.max_virtual_size or None,
        max_ratio=settings.max_ratio or None,
    )


@functools.cache
def _gate(of: InspectionPolicy) -> Inspector:
    return Inspector(of)


def shared(settings: Any) -> Inspector:
    """The gate for these settings; the same one for every caller of this process."""
    return _gate(policy(settings))


def declared_format(image: Image) -> str | None:
    """What the stream of this image's data must be, for a gate; None for anything.

    That is its ``disk_format``, but for the containers that wrap the disk (ova, docker,
    compressed). The others (ovf, ami, aki, ari) are labels: what bears them is the disk itself.
    """
    return image.container_format if image.container_format in WRAPPERS else image.disk_format


#: The disk_format of an image for which none was declared, by what its content is.
_DISK_FORMATS = {
    **{name: name for name in IMAGES if name in ACCEPTED and name not in ("luks", "udf")},
    "udf": "iso",
}


def fields_from_content(image: Image, facts: Any) -> Mapping[str, Any]:
    """The fields of a record that its data tells: of ``facts`` as ``Inspection`` has them.

    Where no format was declared, the content says it. Raises BadImage when it is none that
    could have been declared, and when there is no content.
    """
    found = {} if facts is None else {"virtual_size": facts.virtual_size}
    if image.container_format is None:
        found["container_format"] = "bare"
    if image.disk_format is None and image.container_format not in WRAPPERS:
        content = "raw" if facts is None else facts.format
        empty = content == "raw" and facts is not None and facts.virtual_size == 0
        if empty or content not in _DISK_FORMATS:
            hint = "Declare its disk_format to keep it as that."
            problem = "there is no content" if empty else f"the content is {content}"
            raise errors.BadImage(check="format", offset=0, problem=problem, hint=hint)
        found["disk_format"] = _DISK_FORMATS[content]
    return found
