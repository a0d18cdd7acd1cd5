"""The gate every image passes, whatever way it comes in.

A :class:`Gate` is built once and holds the operator's :class:`Policy`; each stream gets
an :class:`Inspection`. The bytes are seen once, as they pass, and never kept.
"""

from dataclasses import dataclass, field

from imsgate import errors
from imsgate.formats import iso
from imsgate.formats.checks import CHECKS
from imsgate.formats.facts import Facts, Finding, Report
from imsgate.formats.names import FORMATS, IMAGES, PAYLOADS, is_boot_file, meant_by
from imsgate.formats.probe import probe
from imsgate.formats.stream import Scan

ACCEPTED = frozenset(IMAGES) - {"parallels", "bochs", "cloop"}
REFUSED_CHECKS = frozenset(name for name, check in CHECKS.items() if check.refuse)

TIB = 1 << 40


@dataclass(frozen=True, slots=True)
class InspectionPolicy:
    """What the operator wants. The defaults are safe.

    ``formats`` are accepted, by canonical name; ``refuse`` are the checks whose findings
    refuse an image; ``raw_may_hold`` the formats that may be declared ``raw``.
    ``max_virtual_size`` is in bytes, ``max_ratio`` virtual by real size; None is no limit.
    """

    formats: frozenset[str] = ACCEPTED
    refuse: frozenset[str] = REFUSED_CHECKS
    raw_may_hold: frozenset[str] = field(default=frozenset())
    max_virtual_size: int | None = 64 * TIB
    max_ratio: float | None = None

    def __post_init__(self) -> None:
        """Raises ValueError for names that do not exist."""
        unknown = (self.formats | self.raw_may_hold).difference(FORMATS)
        unknown |= self.refuse.difference(CHECKS)
        if unknown:
            raise ValueError(f"not known: {', '.join(sorted(unknown))}")


class Inspection:
    """One stream on its way through the gate.

    With ``patient`` nothing is raised before :meth:`finish`, so that every finding is in
    ``image_info``; otherwise the first refusal is raised as soon as its bytes have passed, and
    again by every later call.
    """

    def __init__(
        self, policy: InspectionPolicy, declared: str | None, *, patient: bool = False
    ) -> None:
        self._policy = policy
        self._patient = patient
        self._declared: str | None = None
        self._report = Report()
        self._seen = 0
        self._known: frozenset[str] | None = None
        self.refusal: errors.BadImage | None = None
        self._scan = Scan((probe(self._report), iso.watch(self._report)), self._judge)
        self.declare(declared)

    @property
    def image_info(self) -> Facts | None:
        """What is known so far; None before the format is certain."""
        return self._report.facts() if self._report.format else None

    def report(self) -> Facts:
        """What is known so far, also while the format is open."""
        return self._report.facts()

    def declare(self, disk_format: str | None) -> None:
        """Say what the content is meant to be, before the first byte."""
        assert self._scan.position == 0, "the stream has begun"
        self._declared = disk_format or None

    def feed(self, chunk: bytes | bytearray | memoryview) -> None:
        """Look at the next bytes. Raises BadImage or FormatMismatch when they refuse."""
        if self.refusal and not self._patient:
            raise self.refusal
        self._scan.feed(chunk)

    def finish(self) -> None:
        """The stream has ended. Raises as :meth:`feed`; after it ``image_info`` is final."""
        if not (self.refusal and not self._patient):
            self._scan.finish()
            self._judge_size()
        if self.refusal:
            raise self.refusal

    def _judge_size(self) -> None:
        report, size = self._report, self._scan.position
        if size < report.needed and report.sound():
            report.find(
                "truncated",
                report.needed_at,
                f"{report.needed_for} ends at byte {report.needed}, the image at {size}",
            )
        limit = self._policy.max_ratio
        if limit is not None and (report.virtual_size or 0) > limit * max(size, 1):
            report.find(
                "size_ratio",
                report.size_at,
                f"{report.virtual_size} virtual bytes in a file of {size}",
            )
        self._judge()

    def _judge(self) -> None:
        """Look at what is new in the report."""
        report = self._report
        if report.candidates != self._known:
            self._known = report.candidates
            self._judge_format()
        limit = self._policy.max_virtual_size
        if limit is not None and (report.virtual_size or 0) > limit:
            report.find(
                "virtual_size", report.size_at, f"{report.virtual_size} bytes are above {limit}"
            )
        while self._seen < len(report.findings):
            finding = report.findings[self._seen]
            self._seen += 1
            if finding.check in self._policy.refuse:
                self._refuse(finding)

    def _judge_format(self) -> None:
        """The candidates against what is declared and what is accepted."""
        report, candidates = self._report, self._report.candidates or frozenset()
        found = " or ".join(sorted(candidates))
        allowed = frozenset(FORMATS)
        if self._declared is not None:
            allowed = frozenset(meant_by(self._declared))
            if "raw" in allowed:
                allowed |= self._policy.raw_may_hold
            if not candidates & allowed:
                report.find("declared_format", report.format_at, self._contradiction(candidates))
        if is_boot_file(self._declared) and candidates & allowed:
            return
        if not candidates & self._policy.formats:
            check = "payload" if candidates <= frozenset(PAYLOADS) else "format"
            report.find(check, report.format_at, f"the content is {found}")

    def _contradiction(self, candidates: frozenset[str]) -> str:
        if len(candidates) == 1:
            return f"declared {self._declared}, but the content is {next(iter(candidates))}"
        return f"declared {self._declared}, but the content does not begin like it"

    def _refuse(self, finding: Finding) -> None:
        kind = errors.FormatMismatch if finding.check == "declared_format" else errors.BadImage
        refusal = kind(
            check=finding.check,
            offset=finding.offset,
            problem=finding.reason,
            hint=finding.hint,
        )
        self.refusal = self.refusal or refusal
        if not self._patient:
            raise self.refusal


class Inspector:
    """One policy for every way in; safe to share between threads."""

    def __init__(self, policy: InspectionPolicy | None = None) -> None:
        self.policy = policy or InspectionPolicy()

    def begin(self, declared: str | None = None, *, patient: bool = False) -> Inspection:
        """A new stream, of the ``disk_format`` declared for it, if known yet."""
        return Inspection(self.policy, declared, patient=patient)
