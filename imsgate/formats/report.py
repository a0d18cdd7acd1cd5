"""The result of an inspection: the image's format and size, and the problems found in it."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from imsgate.formats.checks import HINTS

Problem = tuple[object, int, str]
"""A condition that is true for an invalid header, the offset of its field in bytes, the reason."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A problem with an image. The operator's policy decides whether it refuses the image.

    ``check`` is a key of :data:`imsgate.formats.checks.CHECKS`. ``offset`` is the position of the
    evidence in bytes from the start of the stream. ``reason`` describes this image, ``hint`` tells
    the user what to do.
    """

    check: str
    offset: int
    reason: str
    hint: str


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """The properties of an image. Sizes are in bytes.

    ``format`` is None until it is certain, ``virtual_size`` until the field that contains it has
    passed. ``block_size`` is the size of a cluster, grain or block, in formats that have them.
    ``variant`` is the kind within the format (``streamOptimized``, ``fixed``, ``gpt`` ...).
    """

    format: str | None = None
    virtual_size: int | None = None
    block_size: int | None = None
    variant: str | None = None
    findings: tuple[Finding, ...] = ()


@dataclass(slots=True)
class Report:
    """What the parsers have detected so far; they fill it in while the stream passes.

    ``candidates`` are the formats that the stream may still have, None if no format is excluded
    yet. ``format_offset`` and ``size_offset`` are the offsets of the bytes that determine the
    format and the virtual size. ``required_size`` is the smallest possible size of the file in
    bytes, according to the field at ``required_offset``, which locates ``required_part``.
    """

    candidates: frozenset[str] | None = None
    virtual_size: int | None = None
    block_size: int | None = None
    variant: str | None = None
    findings: list[Finding] = field(default_factory=list)
    format_offset: int = 0
    size_offset: int = 0
    required_size: int = 0
    required_offset: int = 0
    required_part: str = ""

    @property
    def format(self) -> str | None:
        """The format, if only one candidate is left."""
        if self.candidates is None or len(self.candidates) != 1:
            return None
        return next(iter(self.candidates))

    @property
    def header_is_valid(self) -> bool:
        """Whether the offsets in the header can be trusted."""
        return not any(finding.check in ("bad_header", "bad_table") for finding in self.findings)

    def narrow_format(self, *formats: str, offset: int = 0) -> None:
        """Set the candidates to ``formats``, because of the bytes at ``offset``."""
        self.candidates, self.format_offset = frozenset(formats), offset

    def set_virtual_size(self, size: int, offset: int = 0) -> None:
        """Set the virtual size to ``size`` bytes, which the field at ``offset`` contains."""
        self.virtual_size, self.size_offset = size, offset

    def add_finding(self, check: str, offset: int, reason: str, hint: str | None = None) -> None:
        """Add a finding, with the hint of its check unless ``hint`` is given.

        Only the first finding of each check is kept.
        """
        if all(finding.check != check for finding in self.findings):
            self.findings.append(Finding(check, offset, reason, hint or HINTS[check]))

    def check_header(self, problems: Iterable[Problem], base: int = 0) -> bool:
        """Add the first true problem as ``bad_header``; return whether there is no problem.

        The offsets of the problems are relative to ``base``.
        """
        for is_invalid, offset, reason in problems:
            if is_invalid:
                self.add_finding("bad_header", base + offset, reason)
                return False
        return True

    def require_size(self, size: int, offset: int, part: str) -> None:
        """The field at ``offset`` locates ``part``, which ends at byte ``size`` of the file."""
        if size > self.required_size:
            self.required_size, self.required_offset, self.required_part = size, offset, part

    def image_info(self) -> ImageInfo:
        """A frozen copy."""
        return ImageInfo(
            self.format,
            self.virtual_size,
            self.block_size,
            self.variant,
            tuple(self.findings),
        )
