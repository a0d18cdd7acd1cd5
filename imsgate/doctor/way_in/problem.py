"""What a probe reports, and how the table of probes describes it."""

import dataclasses
from collections.abc import Callable, Iterator

from imsgate.doctor.diagnosis import Severity
from imsgate.doctor.way_in.site import Site


@dataclasses.dataclass(frozen=True, slots=True)
class Problem:
    """``message`` and ``advice`` are one sentence each."""

    message: str
    advice: str = ""
    severity: Severity = Severity.ERROR


@dataclasses.dataclass(frozen=True, slots=True)
class Probe:
    """A named check. ``passed`` says what works if ``run`` yields nothing.

    ``run`` may raise what ``Site.call`` raises.
    """

    name: str
    passed: str
    run: Callable[[Site], Iterator[Problem]]
