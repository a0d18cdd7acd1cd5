"""The format inspection that all image data passes, whatever its source.

An :class:`Inspector` is built once, with the operator's :class:`InspectionPolicy`. Each stream gets
its own :class:`Inspection`, which examines the bytes as they pass and does not store them.
"""

from dataclasses import dataclass, field

from imsgate import errors
from imsgate.formats import hints, iso
from imsgate.formats.checks import CHECKS
from imsgate.formats.names import (
    FORMATS,
    IMAGES,
    PAYLOADS,
    Declaration,
    allowed_content,
    is_boot_file,
)
from imsgate.formats.probe import probe
from imsgate.formats.report import Finding, ImageInfo, Report
from imsgate.formats.stream import ReaderGroup

ACCEPTED = frozenset(IMAGES) - {"parallels", "bochs", "cloop"}
"""The formats that are accepted by default."""

REFUSED_CHECKS = frozenset(name for name, check in CHECKS.items() if check.refuse)
"""The checks whose findings refuse an image by default."""

TIB = 1 << 40


@dataclass(frozen=True, slots=True)
class InspectionPolicy:
    """Which images the operator accepts. The defaults are safe.

    ``formats`` are the canonical names of the accepted formats. ``refuse`` are the checks whose
    findings refuse an image. ``raw_may_hold`` are the formats whose content may be declared as
    ``raw``. ``max_virtual_size`` is in bytes; ``max_ratio`` is the virtual size divided by the size
    of the file; None means unlimited. Raises ValueError for an unknown format or check.
    """

    formats: frozenset[str] = ACCEPTED
    refuse: frozenset[str] = REFUSED_CHECKS
    raw_may_hold: frozenset[str] = field(default=frozenset())
    max_virtual_size: int | None = 64 * TIB
    max_ratio: float | None = None

    def __post_init__(self) -> None:
        unknown = (self.formats | self.raw_may_hold).difference(FORMATS)
        unknown |= self.refuse.difference(CHECKS)
        if unknown:
            raise ValueError(f"unknown formats or checks: {', '.join(sorted(unknown))}")


class Inspection:
    """The inspection of one stream.

    By default, the first refusal is raised as soon as the bytes that cause it have passed, and
    again by every later call. With ``keep_going``, it is only raised by :meth:`finish`, so that
    ``image_info`` contains the findings of the whole stream.
    """

    def __init__(
        self,
        policy: InspectionPolicy,
        declared: Declaration | str | None,
        *,
        keep_going: bool = False,
    ) -> None:
        self._policy = policy
        self._keep_going = keep_going
        self._declared: Declaration | None = None
        self._report = Report()
        self._judged_findings = 0
        self._judged_candidates: frozenset[str] | None = None
        self.refusal: errors.BadImage | None = None
        self._readers = ReaderGroup(
            (probe(self._report), iso.find_second_format(self._report)), self._judge
        )
        self.declare(declared)

    @property
    def image_info(self) -> ImageInfo | None:
        """The properties detected so far; None until the format is certain."""
        return self._report.image_info() if self._report.format else None

    def partial_info(self) -> ImageInfo:
        """The properties detected so far, even if the format is not certain."""
        return self._report.image_info()

    def declare(self, declared: Declaration | str | None) -> None:
        """Set the format that the content must have. Call this before the first byte."""
        assert self._readers.position == 0, "the stream has begun"
        self._declared = Declaration(declared) if isinstance(declared, str) and declared else None
        if isinstance(declared, Declaration):
            self._declared = declared

    @property
    def _declares_boot_file(self) -> bool:
        return self._declared is not None and is_boot_file(self._declared.name)

    def feed(self, chunk: bytes | bytearray | memoryview) -> None:
        """Examine the next bytes. Raises BadImage, or its subclass FormatMismatch, to refuse."""
        if self.refusal and not self._keep_going:
            raise self.refusal
        self._readers.feed(chunk)

    @property
    def next_offset(self) -> int:
        """The first byte that the inspection still has to see, if the stream is that long."""
        return self._readers.next_offset

    def skip(self, length: int) -> None:
        """Pass over bytes before ``next_offset`` without reading them.

        At least ``MAX_TAIL_BYTES`` bytes must be fed afterwards.
        """
        self._readers.skip(length)

    def finish(self) -> None:
        """End the stream. Raises like :meth:`feed`; afterwards ``image_info`` is final."""
        if not (self.refusal and not self._keep_going):
            self._readers.finish()
            self._judge_file_size()
        if self.refusal:
            raise self.refusal

    def _judge_file_size(self) -> None:
        report, size = self._report, self._readers.position
        # A kernel begins with a boot sector, but it has no partitions.
        is_kernel = self._declares_boot_file and report.format == "raw"
        if size < report.required_size and report.header_is_valid and not is_kernel:
            report.add_finding(
                "truncated",
                report.required_offset,
                f"{report.required_part} ends at byte {report.required_size}, "
                f"but the file ends at byte {size}",
            )
        limit = self._policy.max_ratio
        if limit is not None and (report.virtual_size or 0) > limit * max(size, 1):
            report.add_finding(
                "size_ratio",
                report.size_offset,
                f"the virtual size is {report.virtual_size} bytes, the file has {size} bytes",
            )
        self._judge()

    def _judge(self) -> None:
        """Judge what is new in the report."""
        report = self._report
        if report.candidates != self._judged_candidates:
            self._judged_candidates = report.candidates
            self._judge_format()
        limit = self._policy.max_virtual_size
        if limit is not None and (report.virtual_size or 0) > limit:
            report.add_finding(
                "virtual_size",
                report.size_offset,
                f"the virtual size is {report.virtual_size} bytes, the limit is {limit}",
            )
        while self._judged_findings < len(report.findings):
            finding = report.findings[self._judged_findings]
            self._judged_findings += 1
            if finding.check in self._policy.refuse:
                self._refuse(finding)

    def _judge_format(self) -> None:
        """Compare the candidates with the declared format and the accepted formats."""
        report, candidates = self._report, self._report.candidates or frozenset()
        allowed = frozenset(FORMATS)
        accepted = self._policy.formats
        if self._declared is not None:
            allowed = frozenset(allowed_content(self._declared.name)) | self._declared.also
            if "raw" in allowed:
                allowed |= self._policy.raw_may_hold
            if not candidates & allowed:
                report.add_finding(
                    "declared_format",
                    report.format_offset,
                    self._mismatch(self._declared.name, candidates),
                    hints.for_mismatch(candidates, self._declared, allowed, accepted),
                )
        if self._declares_boot_file and candidates & allowed:
            return
        if not candidates & accepted:
            check = "payload" if candidates <= frozenset(PAYLOADS) else "format"
            content = " or ".join(sorted(candidates))
            hint = hints.for_refused(candidates, self._declared)
            report.add_finding(check, report.format_offset, f"the content is {content}", hint)

    def _mismatch(self, declared: str, candidates: frozenset[str]) -> str:
        if len(candidates) == 1:
            return f"the declared format is {declared}, but the content is {min(candidates)}"
        return f"the declared format is {declared}, but the content does not begin like this format"

    def _refuse(self, finding: Finding) -> None:
        kind = errors.FormatMismatch if finding.check == "declared_format" else errors.BadImage
        refusal = kind(
            check=finding.check,
            offset=finding.offset,
            problem=finding.reason,
            hint=finding.hint,
        )
        self.refusal = self.refusal or refusal
        if not self._keep_going:
            raise self.refusal


class Inspector:
    """Begins inspections according to one policy. Safe to share between threads."""

    def __init__(self, policy: InspectionPolicy | None = None) -> None:
        self.policy = policy or InspectionPolicy()

    def begin(
        self, declared: Declaration | str | None = None, *, keep_going: bool = False
    ) -> Inspection:
        """Begin to inspect a stream; ``declared`` is its ``disk_format``, None if unknown."""
        return Inspection(self.policy, declared, keep_going=keep_going)
