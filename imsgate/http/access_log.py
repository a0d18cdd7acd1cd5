"""The line of the access log: one for each request, as text and as fields for JSON."""

import logging
import re
import urllib.parse
from typing import Any

from imsgate import errors
from imsgate.http import body
from imsgate.http.notes import Finished
from imsgate.http.request import Request
from imsgate.model import Identity
from imsgate.telemetry.dependencies import one_line

#: Parameters of a query whose values may be credentials.
_SECRETS = re.compile(
    r"(?i)([^&=]*(?:token|signature|password|passwd|secret|credential|api[-_]?key)[^&=]*)=[^&]*"
)
_MASK = r"\1=***"
#: Characters of request lines that need no escape.
_SAFE = "/~:@!$&'()*+,;=%?[]"
_PLAIN = re.compile(rf"[A-Za-z0-9_.\-{re.escape(_SAFE)}]*")
_PLAIN_PATH = re.compile(r"[A-Za-z0-9_.\-/~:@!$&'()*+,;=]*")
#: The longest name of a user, project or image that is logged, in characters.
_MAX_NAME = 200


def write(log: logging.Logger, request: Request, finished: Finished, reason: str) -> None:
    """Log a request whose response is complete; before that, log a refused image.

    ``reason`` is the response's X-Imsgate-Reason, "" without one.
    """
    notes = request.notes
    user, error = notes.identity or Identity(), notes.error
    if error is not None and error.reason != reason:  # of a response that was replaced
        error = None
    fields: dict[str, Any] = {
        "client": printable(request.remote_addr or "-"),
        "method": printable(request.method),
        "target": _target(request),
        "status": finished.status,
        "in": _received(request),
        "out": finished.sent,
        "time": round(finished.seconds, 3),
        "user": _name(user.user_id),
        "project": _name(user.project_id),
        "image": _name(notes.image_id),
    }
    if reason:
        fields |= {"reason": printable(reason), **_finding(error)}
    if notes.trace_id:
        fields["trace"] = notes.trace_id
    if isinstance(error, errors.BadImage):
        problem = one_line(error.details["problem"])
        log.warning(
            "Image %s was refused: %s at byte %d: %s",
            *(fields["image"], fields["check"], fields["offset"], problem),
            extra={"extra": {**fields, "problem": problem}},
        )
    log.info(
        '%s "%s %s" status: %s in: %d out: %d time: %.3f user: %s project: %s image: %s%s',
        *list(fields.values())[:10],
        "".join(f" {name}: {value}" for name, value in list(fields.items())[10:]),
        extra={"extra": fields},
    )


def _received(request: Request) -> int:
    """The bytes of the body that were read."""
    stream = request.environ.get("wsgi.input")
    return stream.received if isinstance(stream, body.Tapped) else 0


def _finding(error: errors.Error | None) -> dict[str, Any]:
    if not isinstance(error, errors.BadImage):
        return {}
    return {name: error.details[name] for name in ("check", "offset")}


def _name(text: str | None) -> str:
    """A user, project or image: one word."""
    return printable(text)[:_MAX_NAME] if text else "-"


def _target(request: Request) -> str:
    """Path and query as in the request line, escaped so that they are safe in a log line."""
    environ = request.environ
    path: str = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
    if not _PLAIN_PATH.fullmatch(path):
        path = urllib.parse.quote(path, safe="/~:@!$&'()*+,;=", encoding="latin-1")
    if query := environ.get("QUERY_STRING", ""):
        return f"{path}?{printable(without_secrets(query))}"
    return path


def without_secrets(query: str) -> str:
    """A query string in which "***" replaces each value that may be a credential."""
    return _SECRETS.sub(_MASK, query)


def printable(text: str) -> str:
    """``text`` with every character escaped that could forge a log line."""
    if _PLAIN.fullmatch(text):  # the usual case: quote takes ten times as long
        return text
    encoding = "latin-1" if all(ord(char) < 256 for char in text) else "utf-8"
    return urllib.parse.quote(text, safe=_SAFE, encoding=encoding, errors="replace")
