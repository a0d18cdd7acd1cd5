"""What a check reports."""

import dataclasses
import enum
from collections.abc import Callable


class Severity(enum.StrEnum):
    """How bad a finding is."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"
    #: The check could not run, or there is nothing to check.
    SKIPPED = "skipped"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """One result of a check.

    ``check`` is its dotted name, for example ``stores.files`` or ``way-in.buffering``. ``message``
    says what was found, in one sentence, and ``advice`` what to do about it. ``fix``, if there is
    one, repairs it and returns what it did, in one sentence. Raises OSError or an imsgate Error.

    No text may contain a secret.
    """

    check: str
    severity: Severity
    message: str
    advice: str = ""
    fix: Callable[[], str] | None = None


def counted(number: int, one: str, many: str = "") -> str:
    """``1 upload``, ``2 uploads``; ``many`` is the plural if it is not formed with an s."""
    return f"{number} {one if number == 1 else many or one + 's'}"
