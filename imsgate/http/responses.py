"""JSON responses, and errors as responses in the form that the client understands."""

import json
import re
import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

import orjson
import webob
import webob.exc

from imsgate import errors
from imsgate.http.request import REQUEST_ID, Request
from imsgate.http.wsgi import Environ, WsgiApp

#: The paths that are those of Huawei's image service alone.
_IMS_PATH = re.compile(
    r"/v1/cloudimages(/.*)?|/v2(\.1)?/cloudimages(/.*)?|/v1/[^/]+/jobs/.*|/v2/(?!images/)[^/]+/images/.*"
)


def json_response(value: Any, status: int = 200, **headers: str) -> webob.Response:
    """``value`` as a JSON document."""
    response = webob.Response(status=status, content_type="application/json", charset="UTF-8")
    response.body = _encoded(value)
    for name, text in headers.items():
        response.headers[name.replace("_", "-")] = text
    return response


def _encoded(value: Any) -> bytes:
    try:
        return orjson.dumps(value)
    except TypeError:  # numbers beyond 64 bits, which a task's input may hold
        return json.dumps(value, ensure_ascii=False).encode()


# WebOb's own page without its per-status introductions: Glance's clients cut it
# apart by these tags.
_PAGE = "${explanation}<br /><br />\n${detail}\n${html_comment}\n"


def refusal(error: errors.Error) -> WsgiApp:
    """``error`` in the form that the client understands.

    In that of Huawei's image service on its paths, and for whoever signs requests as its
    SDKs do; else in Glance's. A signing error is answered in the form of the vendor's API
    gateway. The reason stands in ``X-Imsgate-Reason`` too, so that no client has to parse a
    page.
    """

    def answer(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        theirs = speaks_ims(environ)
        if error.gateway_code or (theirs and error.code.startswith("APIGW.")):
            app = _of_gateway(error, environ)
        elif theirs:
            app = _ims(error, environ)
        else:
            app = _glance(error)
            # openstacksdk uploads with an empty Accept. WebOb answers that with plain
            # text, of which the SDK shows its user nothing.
            environ = {**environ, "HTTP_ACCEPT": environ.get("HTTP_ACCEPT") or "text/html"}
        return app(environ, start_response)

    return answer


def _glance(error: errors.Error) -> WsgiApp:
    """An HTML page, or JSON where the client accepts only that."""

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
            headers={**error.headers, "X-Imsgate-Reason": error.reason},
            body_template=_PAGE,
            json_formatter=members,
        ),
    )


def speaks_ims(environ: Environ) -> bool:
    """Whether the client of this request understands Huawei's image service."""
    return _on_ims_path(environ) or "HTTP_X_SDK_DATE" in environ


def _on_ims_path(environ: Environ) -> bool:
    return bool(_IMS_PATH.fullmatch(Request(environ).route))


def _ims(error: errors.Error, environ: Environ) -> WsgiApp:
    """That service has no other statuses for what a client did wrong than 400, 401, 403 and
    404, and 409 on Glance's paths."""
    listed = {401, 403, 404, *(() if _on_ims_path(environ) else (409,))}
    status = error.status if error.status in listed or error.status >= 500 else 400
    members = {**error.details, "reason": error.reason, "code": error.code, "message": str(error)}
    return _document(error, {"error": members}, status, _request_id(environ))


def _of_gateway(error: errors.Error, environ: Environ) -> WsgiApp:
    request_id = _request_id(environ)
    members = {
        "error_code": error.gateway_code or error.code,
        "error_msg": _in_gateways_words(error, environ),
        "request_id": request_id,
    }
    return _document(error, members, error.status, request_id)


def _in_gateways_words(error: errors.Error, environ: Environ) -> str:
    """What only says that nobody vouches for the request: the gateway says which of two it is."""
    if error.gateway_code or not isinstance(error, errors.Unauthenticated):
        return str(error)
    found = environ.get("HTTP_X_AUTH_TOKEN")
    why = "decrypt token fail" if found else "x-auth-token not found"
    return f"Incorrect IAM authentication information: {why}"


def _request_id(environ: Environ) -> str:
    return environ.get(REQUEST_ID) or f"req-{uuid.uuid4()}"


def _document(error: errors.Error, members: Any, status: int, request_id: str) -> WsgiApp:
    response = webob.Response(status=status, content_type="application/json", charset="UTF-8")
    response.body = json.dumps(members).encode()  # ASCII: a refusal may quote half a surrogate
    response.headers.update({**error.headers, "X-Imsgate-Reason": error.reason})
    response.headers["X-Request-Id"] = request_id
    return cast(WsgiApp, response)
