"""W3C Trace Context: which trace a request belongs to, and what passes it on.

The headers ``traceparent`` and ``tracestate`` (https://www.w3.org/TR/trace-context/) let the log
lines and spans of several services be joined. A request without them, or with an invalid
``traceparent``, begins a new trace. Requests to other services that are sent meanwhile have the
headers that ``headers`` returns.
"""

import contextvars
import dataclasses
import os
import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, ParamSpec, TypeVar

from oslo_context import context

_TRACEPARENT = re.compile(
    r"(?P<version>[0-9a-f]{2})-(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})"
    r"(?P<rest>-.*)?"
)
_VERSION, _INVALID_VERSION = "00", "ff"
#: "sampled", and "random-trace-id" of level 2. A sender must not set any other bit.
_KNOWN_FLAGS = 0b11
_RANDOM_FLAG = 0b10

#: A member of tracestate: the key, which may be that of one tenant of a vendor, and the value.
_STATE_MEMBER = re.compile(
    r"(?P<key>[a-z][a-z0-9_\-*/]{0,255}|[a-z0-9][a-z0-9_\-*/]{0,240}@[a-z][a-z0-9_\-*/]{0,13})"
    r"=[ -+\--<>-~]{0,255}[!-+\--<>-~]"
)
_MAX_STATE_MEMBERS = 32
#: What has to be passed on at least, in characters. More may exceed the limits of other servers.
_MAX_STATE_CHARACTERS = 512
_LONG_MEMBER_CHARACTERS = 128

P = ParamSpec("P")
T = TypeVar("T")


@dataclasses.dataclass(frozen=True, slots=True)
class Trace:
    """A trace and the place of this service in it. The ids are hexadecimal, as in the headers."""

    trace_id: str
    span_id: str
    flags: int = 0
    state: str = ""

    @property
    def headers(self) -> dict[str, str]:
        """The headers of a request that this service sends."""
        parent = f"{_VERSION}-{self.trace_id}-{self.span_id}-{self.flags:02x}"
        return {"traceparent": parent, **({"tracestate": self.state} if self.state else {})}


_current: contextvars.ContextVar[Trace | None] = contextvars.ContextVar("trace", default=None)


def received(traceparent: str | None, tracestate: str | None) -> Trace:
    """The trace that a request with these headers belongs to, or a new one.

    An invalid ``tracestate`` is dropped; the trace goes on without it.
    """
    found = _TRACEPARENT.fullmatch((traceparent or "").strip(" \t"))
    span_id = _random_id(8)
    if found is None or not _is_valid(found):
        return Trace(_random_id(16), span_id, _RANDOM_FLAG)
    flags = int(found["flags"], 16) & _KNOWN_FLAGS
    return Trace(found["trace"], span_id, flags, _valid_state(tracestate or ""))


def _is_valid(found: re.Match[str]) -> bool:
    has_ids = found["trace"].strip("0") and found["span"].strip("0")
    # Later versions may append fields.
    is_known = found["version"] != _INVALID_VERSION and not (
        found["version"] == _VERSION and found["rest"]
    )
    return bool(has_ids) and is_known


def _valid_state(text: str) -> str:
    """The members of a valid ``tracestate`` that are passed on; "" if it is invalid."""
    stripped = (member.strip(" \t") for member in text.split(","))
    members = [member for member in stripped if member]
    found = [_STATE_MEMBER.fullmatch(member) for member in members]
    keys = {match["key"] for match in found if match}
    if len(members) > _MAX_STATE_MEMBERS or len(keys) < len(members):
        return ""
    while len(",".join(members)) > _MAX_STATE_CHARACTERS:
        long = [member for member in members if len(member) > _LONG_MEMBER_CHARACTERS]
        members.remove(long[-1] if long else members[-1])
    return ",".join(members)


def _random_id(size: int) -> str:
    """``size`` random bytes, not all of which are zero."""
    while not any(drawn := os.urandom(size)):
        pass
    return drawn.hex()


def enter(trace: Trace | None) -> None:
    """Let what this thread does from now on belong to ``trace``; None: to no trace."""
    _current.set(trace)


def current() -> Trace | None:
    """The trace that this thread works for."""
    return _current.get()


def headers() -> dict[str, str]:
    """The headers of a request that this thread sends; empty if it works for no trace."""
    trace = current()
    return trace.headers if trace else {}


class CurrentHeaders(Mapping[str, str]):
    """``headers`` as they are when it is read, for a client that takes its headers only once."""

    def __getitem__(self, name: str) -> str:
        return headers()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(headers())

    def __len__(self) -> int:
        return len(headers())


def carried(function: Callable[P, T]) -> Callable[P, T]:
    """``function`` for another thread, where it works for the trace that is the current one now."""
    return partial(contextvars.copy_context().run, function)


class LogContext(context.RequestContext):
    """What oslo.log adds to each line of a thread: also ``trace_id``."""

    def get_logging_values(self) -> dict[str, Any]:
        trace = current()
        return {**super().get_logging_values(), "trace_id": trace.trace_id if trace else None}
