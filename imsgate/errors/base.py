"""Error, and the general error of each HTTP status that several others refine."""

from collections.abc import Mapping
from typing import Any, ClassVar


class Error(Exception):
    """Base of all reported failures.

    ``status`` is the HTTP status (RFC 9110). ``reason`` is a stable word for programs.
    ``message`` is a template that the details fill. ``headers`` are sent with the response.

    ``code`` is the error code of Huawei's image service (``IMG.…``), or of the API gateway in
    front of it (``APIGW.…``). An error with a ``gateway_code`` is sent in the format of that
    gateway, whatever API the client uses. One with a ``problem_type`` (a URI) is sent as
    ``application/problem+json`` (RFC 9457), whatever API the client uses. If a store raises one
    that ``needs_operator``, the store has an outage, which is logged as ERROR.
    """

    status: ClassVar[int] = 500
    reason: ClassVar[str] = "internal_error"
    code = "IMG.0061"
    message: ClassVar[str] = "The server could not complete the request"
    gateway_code: ClassVar[str | None] = None
    problem_type: ClassVar[str | None] = None
    needs_operator: ClassVar[bool] = False

    def __init__(self, *, headers: Mapping[str, str] | None = None, **details: Any) -> None:
        super().__init__(self.message.format(**details))
        self.details = details
        self.headers: dict[str, str] = dict(headers or {})


class BadConfig(Exception):
    """The configuration cannot work, and the process must not start.

    ``key`` names the option, as ``[group] option`` or as the Paste key.
    """

    def __init__(self, key: str, problem: str) -> None:
        super().__init__(f"{key}: {problem}")
        self.key = key
        self.problem = problem


class BadRequest(Error):
    status, reason = 400, "bad_request"
    code = "IMG.0001"
    message = "{problem}"


class Forbidden(Error):
    status, reason = 403, "forbidden"
    code = "IMG.0026"
    message = "You are not allowed to {action}"


class NotFound(Error):
    status, reason = 404, "not_found"
    code = "IMG.0027"
    message = "{what} could not be found"


class Conflict(Error):
    status, reason = 409, "conflict"
    code = "IMG.0046"
    message = "{problem}"


class Unavailable(Error):
    status, reason = 503, "unavailable"
    code = "IMG.0014"
    message = "{what} is not available now; try again later"

    def __init__(self, *, retry_after: int = 30, **details: Any) -> None:
        """``retry_after`` is in seconds."""
        super().__init__(headers={"Retry-After": str(retry_after)}, **details)


class ServiceReadOnly(Unavailable):
    reason = "service_read_only"
    message = "The service is read-only during maintenance; try again later"


def code_of(reason: str) -> str:
    """The ``code`` of the errors with this reason, which is all that a job records of an error."""
    return _codes(Error).get(reason, Error.code)


def _codes(kind: type[Error]) -> dict[str, str]:
    codes: dict[str, str] = {}
    for sub in kind.__subclasses__():
        codes = {**_codes(sub), **codes}
    return {**codes, kind.reason: kind.code}
