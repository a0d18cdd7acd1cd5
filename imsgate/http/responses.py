"""JSON responses, and errors as responses in the format of the client's API."""

import json
import re
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

import orjson
import webob
import webob.exc

from imsgate import errors
from imsgate.http.request import REQUEST_ID, Request
from imsgate.http.wsgi import Environ, WsgiApp
from imsgate.profiles import STATUSES

#: Paths that only Huawei's image service has. Those of Glance's version 1 were its own.
_IMS_PATH = re.compile(
    r"(/.*)?/cloudimages(/.*)?"
    r"|/v1(\.[0-9]+)?/(?!images(/|$)|shared-images(/|$)).+"
    r"|/v2(\.[0-9]+)?/(?!images/)[^/]+/images/.*",
    re.DOTALL,
)

_TIMES = orjson.OPT_UTC_Z | orjson.OPT_OMIT_MICROSECONDS

#: Bytes of a long list that are sent at a time.
_CHUNK_BYTES = 65536


def json_response(value: Any, status: int = 200, **headers: str) -> webob.Response:
    """``value`` as a JSON document."""
    response = webob.Response(status=status, content_type="application/json", charset="UTF-8")
    response.body = encode(value)
    for name, text in headers.items():
        response.headers[name.replace("_", "-")] = text
    return response


def json_list(name: str, items: Sequence[bytes], members: Mapping[str, Any]) -> webob.Response:
    """A JSON object whose member ``name`` is a list of ``items``, which are encoded already.

    It is sent in pieces, so that no second copy of a long list is made.
    """
    pieces = [b"{" + encode(name) + b":["]
    for number, item in enumerate(items):
        pieces += [b",", item] if number else [item]
    rest = encode(dict(members))[1:]
    pieces.append(b"]," + rest if members else b"]" + rest)
    response = webob.Response(content_type="application/json", charset="UTF-8")
    response.app_iter = _joined(pieces)
    response.content_length = sum(map(len, pieces))  # setting app_iter removes it
    return response


def _joined(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The pieces in chunks that are worth a system call each."""
    chunk = bytearray()
    for piece in pieces:
        chunk += piece
        if len(chunk) >= _CHUNK_BYTES:
            yield bytes(chunk)
            chunk.clear()
    yield bytes(chunk)


def encode(value: Any) -> bytes:
    """``value`` as JSON in UTF-8; times (UTC) in Glance's format, in whole seconds."""
    try:
        return orjson.dumps(value, option=_TIMES)
    except TypeError:  # integers of more than 64 bits, which the input of a task may contain
        return json.dumps(value, ensure_ascii=False).encode()


# WebOb's own page without its introduction for each status: Glance's clients parse these tags.
_PAGE = "${explanation}<br /><br />\n${detail}\n${html_comment}\n"


def refusal(error: errors.Error) -> WsgiApp:
    """The response for ``error`` in the format of the client's API.

    It is that of Huawei's image service on its paths and for clients that sign requests as its
    SDKs do, and Glance's otherwise. An error of a signature has the format of the vendor's API
    gateway, and one with a type of problem is a problem document (RFC 9457). ``X-Imsgate-Reason``
    contains the reason in every format.
    """

    def respond(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        Request(environ).notes.error = error
        ims = speaks_ims(environ)
        if error.problem_type:
            app = _problem(error, environ)
        elif error.gateway_code or (ims and error.code.startswith("APIGW.")):
            app = _gateway(error, environ)
        elif ims:
            app = _ims(error, environ)
        else:
            app = _glance(error, _request_id(environ))
            # openstacksdk uploads with an empty Accept. WebOb then returns plain text, which the
            # SDK does not show to its user.
            environ = {**environ, "HTTP_ACCEPT": environ.get("HTTP_ACCEPT") or "text/html"}
        return app(environ, start_response)

    return respond


def _glance(error: errors.Error, request_id: str) -> WsgiApp:
    """An HTML page, or JSON if the client accepts only that."""

    def members(body: str, status: str, title: str, environ: Environ) -> Mapping[str, Any]:
        return {
            "message": str(error),
            "code": status,
            "title": title,
            "reason": error.reason,
            **error.details,
        }

    return cast(
        WsgiApp,
        webob.exc.status_map[error.status](
            explanation=str(error),
            headers={
                **error.headers,
                "X-Imsgate-Reason": error.reason,
                "X-Request-Id": request_id,
            },
            body_template=_PAGE,
            json_formatter=members,
        ),
    )


def speaks_ims(environ: Environ) -> bool:
    """Whether the client uses the API of Huawei's image service."""
    return _on_ims_path(environ) or "HTTP_X_SDK_DATE" in environ


def _on_ims_path(environ: Environ) -> bool:
    return bool(_IMS_PATH.fullmatch(Request(environ).route))


def identified(app: WsgiApp, environ: Environ) -> WsgiApp:
    """The response ``app`` with ``X-Request-Id``, which the vendor's API gateway always sends.

    Its clients use Glance's paths, too, so every response has it.
    """
    if isinstance(app, webob.Response):
        app.headerlist.append(("X-Request-Id", _request_id(environ)))
    return app


def _ims(error: errors.Error, environ: Environ) -> WsgiApp:
    """A client error has status 400, 401, 403 or 404, or 409 on Glance's paths, because that API
    has no others."""
    statuses = {401, 403, 404, *(() if _on_ims_path(environ) else (409,))}
    status = error.status if error.status in statuses or error.status >= 500 else 400
    details, message = _in_vendors_words(error)
    members = {**details, "reason": error.reason, "code": error.code, "message": message}
    return _document(error, {"error": members}, status, _request_id(environ))


def _in_vendors_words(error: errors.Error) -> tuple[Mapping[str, Any], str]:
    """Details and message, with the statuses that the vendor's API has."""
    if not isinstance(error, errors.WrongStatus):
        return error.details, str(error)
    details = {
        name: STATUSES.get(str(value), str(value)) if name in ("status", "needed") else value
        for name, value in error.details.items()
    }
    if details["status"] == details["needed"]:
        return details, f"Image {details['image_id']} cannot be used in its present state"
    return details, error.message.format(**details)


def _gateway(error: errors.Error, environ: Environ) -> WsgiApp:
    request_id = _request_id(environ)
    members = {
        "error_code": error.gateway_code or error.code,
        "error_msg": _gateway_message(error, environ),
        "request_id": request_id,
    }
    return _document(error, members, error.status, request_id)


def _problem(error: errors.Error, environ: Environ) -> WsgiApp:
    members = {
        **{name.replace("_", "-"): value for name, value in error.details.items()},
        "type": error.problem_type,
        "title": error.reason.replace("_", " ").capitalize(),
        "status": error.status,
        "detail": str(error),
        "reason": error.reason,
    }
    kind = "application/problem+json"
    return _document(error, members, error.status, _request_id(environ), kind)


def _gateway_message(error: errors.Error, environ: Environ) -> str:
    """The message; for a missing or invalid token, the gateway's own words."""
    if error.gateway_code or not isinstance(error, errors.Unauthenticated):
        return str(error)
    token = environ.get("HTTP_X_AUTH_TOKEN")
    problem = "decrypt token fail" if token else "x-auth-token not found"
    return f"Incorrect IAM authentication information: {problem}"


def _request_id(environ: Environ) -> str:
    return environ.get(REQUEST_ID) or f"req-{uuid.uuid4()}"


def _document(
    error: errors.Error,
    members: Any,
    status: int,
    request_id: str,
    kind: str = "application/json",
) -> WsgiApp:
    response = webob.Response(status=status, content_type=kind, charset="UTF-8")
    response.body = json.dumps(
        members
    ).encode()  # ASCII, because a message may quote half a surrogate pair
    response.headers.update({**error.headers, "X-Imsgate-Reason": error.reason})
    response.headers["X-Request-Id"] = request_id
    return cast(WsgiApp, response)
