"""What an inspection says about an image: its format, its size, what is wrong with it."""

from dataclasses import dataclass, field

from imsgate.formats.checks import HINTS


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing worth saying about an image. Whether it is refused is up to the policy.

    ``check`` is a key of :data:`imsgate.formats.checks.CHECKS`, ``offset`` the byte of
    the stream at which the evidence stands.
    """

    check: str
    offset: int
    reason: str
    hint: str


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of an image; sizes are in bytes.

    ``format`` is None until it is certain, ``virtual_size`` until it has passed.
    ``block_size`` is the cluster, grain or block of formats that have one, ``variant``
    the kind within the format (``streamOptimized``, ``fixed``, ``gpt`` ...).
    """

    format: str | None = None
    virtual_size: int | None = None
    block_size: int | None = None
    variant: str | None = None
    findings: tuple[Finding, ...] = ()


@dataclass(slots=True)
class Report:
    """What inspectors write on while the stream passes.

    ``candidates`` are the formats this stream may still be, None while all are open;
    ``format_at`` is where the mark stands that says so, ``size_at`` where the virtual size.
    ``needed`` is the size in bytes that the image says it has at least, ``needed_at``
    and ``needed_for`` where and what says so.
    """

    candidates: frozenset[str] | None = None
    virtual_size: int | None = None
    block_size: int | None = None
    variant: str | None = None
    findings: list[Finding] = field(default_factory=list)
    format_at: int = 0
    size_at: int = 0
    needed: int = 0
    needed_at: int = 0
    needed_for: str = ""

    @property
    def format(self) -> str | None:
        """The format, once only one is left."""
        if self.candidates is None or len(self.candidates) != 1:
            return None
        return next(iter(self.candidates))

    def narrow(self, *formats: str, at: int = 0) -> None:
        """The stream is one of these, as the bytes at ``at`` say."""
        self.candidates, self.format_at = frozenset(formats), at

    def disk(self, size: int, at: int = 0) -> None:
        """The virtual size is ``size`` bytes, as the field at ``at`` says."""
        self.virtual_size, self.size_at = size, at

    def find(self, check: str, offset: int, reason: str) -> None:
        """Note a finding; the same check is noted once, where it was first seen."""
        if all(known.check != check for known in self.findings):
            self.findings.append(Finding(check, offset, reason, HINTS[check]))

    def need(self, end: int, offset: int, what: str) -> None:
        """The field at ``offset`` says that ``what`` ends at byte ``end`` of the image."""
        if end > self.needed:
            self.needed, self.needed_at, self.needed_for = end, offset, what

    def sound(self) -> bool:
        """Whether the header can be trusted to say where things are."""
        return not any(known.check in ("bad_header", "bad_table") for known in self.findings)

    def facts(self) -> Facts:
        """A frozen copy."""
        return Facts(
            self.format,
            self.virtual_size,
            self.block_size,
            self.variant,
            tuple(self.findings),
        )
