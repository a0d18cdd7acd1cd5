"""Checks of one error that a driver raised: its details, and that it reveals nothing."""

import re
from collections.abc import Collection, Iterator

from imsgate import errors

_RULE = "(imsgate/stores/base.py: every driver promises)"

#: An absolute path. Neither "Input/output error" nor a URL matches.
_PATH = re.compile(r"(?<![\w:/.~-])/\w[^\s'\"]*")


def assert_reported(
    error: BaseException, store: str, private: Collection[str], call: str, *, paths: bool = True
) -> None:
    """Fails unless ``error``, raised by ``call``, is one that the contract allows.

    ``private`` are texts that it must not contain. ``paths`` is whether an absolute path is a
    leak whatever ``private`` contains.
    """
    if isinstance(error, errors.Error):
        _assert_details(error, store, call)
    for each in _chain(error):
        shown = _text(each)
        leaked = [text for text in private if text and text in shown]
        if paths:
            leaked += _PATH.findall(shown)
        where = "" if each is error else f" in its cause, which tracebacks show: {each!r}"
        hint = "" if each is error else "; raise it `from None`"
        assert not leaked, (
            f"no error may contain credentials or paths; {call} raised {type(error).__name__} "
            f"with {leaked}{where or f': {error}'}{hint} {_RULE}"
        )


def _assert_details(error: errors.Error, store: str, call: str) -> None:
    kind, details = type(error).__name__, error.details
    expected = {"store"} if isinstance(error, errors.StoreFull) else {"store", "problem"}
    extra = {"retry_after"} if expected == {"store", "problem"} else set()
    valid = expected <= set(details) <= expected | extra and details["store"] == store
    assert valid, (
        f"{call} must raise {kind} with the details {sorted(expected)} and store={store!r}; "
        f"it raised one with {details} {_RULE}"
    )
    problem = details.get("problem", "-")
    assert isinstance(problem, str) and problem.strip(), (
        f"{call} must raise {kind} with a problem that says what is wrong, in words; "
        f"it raised one with problem={problem!r} {_RULE}"
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and what a traceback would show as its causes."""
    seen: list[BaseException] = []
    at: BaseException | None = error
    while at is not None and at not in seen:
        seen.append(at)
        yield at
        at = at.__cause__ or (None if at.__suppress_context__ else at.__context__)


def _text(error: BaseException) -> str:
    details = getattr(error, "details", "")
    headers = getattr(error, "headers", "")
    notes = getattr(error, "__notes__", "")
    return f"{error} {error.args} {details} {headers} {notes}"
