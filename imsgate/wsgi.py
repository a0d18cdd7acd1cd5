"""The WSGI edge: the request with every ``imsgate.*`` environ key, and errors as responses."""

import itertools
import json
import re
import sys
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol, cast

import orjson
import webob
import webob.exc

from imsgate import body, errors, headers
from imsgate.model import Identity

Environ = dict[str, Any]
WsgiApp = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]

IDENTITY = "imsgate.identity"
#: Left by an authentication filter: called without arguments, returns an environ with
#: the variables it would set now. Raises Unauthenticated or Unavailable.
VOUCHER = "imsgate.voucher"
#: Left by ``identity``: called without arguments, returns who asks, as it is now.
IDENTIFY = "imsgate.identify"
#: Left by an authentication filter: called without arguments, returns a text by which a
#: job, in another process, can ask it again; None where it has none. No one can read it.
WARRANT = "imsgate.warrant"
#: Left by ``faults``: the headers it removed because an authentication filter sets them,
#: by their environ keys. They prove nothing, but a signature may cover them.
PRESENTED = "imsgate.presented"
REQUEST_ID = "imsgate.request_id"
INSPECTION = "imsgate.inspection"

#: The requests of the Image API whose body is image data: method, space, path. Glance takes
#: the version from the header Accept too.
IMAGE_REQUESTS = "PUT (/v2)?/images/[^/]+/(file|stage)/?"
#: What Glance reads as ``/v2``; ``/v2.1/cloudimages`` is an API of Huawei's.
_MINOR = re.compile(r"/v2\.[0-9]+(?=/(?!cloudimages(?:/|$))|$)")
_SLASHES = re.compile(r"//+")
#: The paths that are those of Huawei's image service alone.
_IMS_PATH = re.compile(
    r"/v1/cloudimages(/.*)?|/v2(\.1)?/cloudimages(/.*)?|/v1/[^/]+/jobs/.*|/v2/(?!images/)[^/]+/images/.*"
)


class Inspection(Protocol):
    """What the ``sniff`` filter leaves for the application: ``formats.gate.Inspection``."""

    def declare(self, disk_format: str | None) -> None: ...

    @property
    def facts(self) -> Any: ...


class Request(webob.Request):
    """A request as imsgate's filters and application see it."""

    @property
    def identity(self) -> Identity | None:
        """Who asks, or None where nobody has vouched for the request."""
        return cast(Identity | None, self.environ.get(IDENTITY))

    def identify(self) -> Identity:
        """Who asks, established afresh: a role or a token may have been revoked meanwhile.

        That a token has expired since the request began is no reason to refuse. Where the
        authentication filter cannot be asked twice, it is who asked in the beginning.
        Raises Unauthenticated when nobody vouches any more, and Unavailable.
        """
        again = self.environ.get(IDENTIFY)
        identity = again() if again else self.identity
        if identity is None:
            raise errors.Unauthenticated
        return cast(Identity, identity)

    def warrant(self) -> str | None:
        """By what a job can establish afresh who asked for it, as ``identify`` does."""
        sealed = self.environ.get(WARRANT)
        return cast(str | None, sealed()) if sealed else None

    def presented(self, header: str) -> str:
        """A header as the client sent it, an identity it only claims included; "" for none."""
        key = header.upper().replace("-", "_")
        if key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            key = f"HTTP_{key}"
        text: str | None = self.environ.get(PRESENTED, {}).get(key)
        return text if text is not None else self.environ.get(key) or ""

    @property
    def request_id(self) -> str | None:
        """This request's id (``req-`` and a UUID), as ``faults`` chose it."""
        return cast(str | None, self.environ.get(REQUEST_ID))

    @property
    def inspection(self) -> Inspection | None:
        """The format inspection that watches this body, if ``sniff`` is in the pipeline."""
        return cast(Inspection | None, self.environ.get(INSPECTION))

    @property
    def route(self) -> str:
        """The path below the application, as Glance reads it: of ``/v2.5`` it is ``/v2``, and
        of several slashes one. All that depends on a path goes by this one, but what the
        client has signed.

        Unlike ``path_info`` it never fails: bytes that are not UTF-8 become U+FFFD, which no
        route has.
        """
        raw: str = self.environ.get("PATH_INFO", "")
        path = _SLASHES.sub("/", raw.encode("latin-1").decode("utf-8", "replace"))
        minor = _MINOR.match(path)
        return "/v2" + path[minor.end() :] if minor else path

    @property
    def carries_image(self) -> bool:
        """Whether the body is image data, by method and path (upload or stage)."""
        return self.is_one_of(IMAGE_REQUESTS)

    def is_one_of(self, requests: str | re.Pattern[str]) -> bool:
        """Whether the expression fits all of method, space and path."""
        return bool(re.fullmatch(requests, f"{self.method} {self.route}"))

    @property
    def body_length(self) -> int | None:
        """The announced length in bytes; None when only the end of the stream tells.

        Raises BadHeader for contradictory framing.
        """
        return headers.framing(
            self.environ.get("CONTENT_LENGTH"), self.environ.get("HTTP_TRANSFER_ENCODING")
        )

    @property
    def announced_size(self) -> int | None:
        """The size of the image by ``x-openstack-image-size``, in bytes. Raises BadHeader."""
        return headers.digits(
            "x-openstack-image-size", self.environ.get("HTTP_X_OPENSTACK_IMAGE_SIZE")
        )

    @property
    def body_is_empty(self) -> bool:
        """Whether it is known that there is no body. Raises BadHeader."""
        return not self.body_length and "HTTP_TRANSFER_ENCODING" not in self.environ

    def reader(self) -> body.Tapped:
        """The body; every filter and the application share one wrapper.

        Raises LengthRequired when the body is chunked and the server does not
        say that its input ends with the body (``wsgi.input_terminated``).
        """
        stream = self.environ["wsgi.input"]
        if isinstance(stream, body.Tapped):
            return stream
        length = self.body_length
        if length is None and not self.environ.get("wsgi.input_terminated"):
            if "HTTP_TRANSFER_ENCODING" in self.environ:
                raise errors.LengthRequired
            length = 0
        tapped = body.Tapped(stream, length)
        self.environ["wsgi.input"] = tapped
        return tapped

    def tap(self, tap: body.Tap) -> None:
        """Let ``tap`` watch the body as the application reads it."""
        self.reader().join(tap)

    def tapped(self) -> body.Tapped | None:
        """The body's wrapper, where a filter has put one round it already."""
        stream = self.environ["wsgi.input"]
        return stream if isinstance(stream, body.Tapped) else None


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


class Start:
    """A server's ``start_response`` that knows whether it has been called."""

    def __init__(self, start_response: Callable[..., Any]) -> None:
        self._start_response = start_response
        self._started = False

    def __call__(self, status: str, headers: list[tuple[str, str]], *exc_info: Any) -> Any:
        self._started = True
        return self._start_response(status, headers, *exc_info)

    def anew(self, status: str, headers: list[tuple[str, str]]) -> Any:
        """Start the response, in place of one already started (PEP 3333); in an ``except`` block.

        uWSGI fails when it is given ``exc_info`` without need.
        """
        return self(status, headers, *([sys.exc_info()] if self._started else []))


def call(app: WsgiApp, environ: Environ) -> tuple[str, list[tuple[str, str]], Iterable[bytes]]:
    """Status, headers and body of ``app``'s answer, none of the body consumed beyond need.

    The body is the application's own object where it can be (``wsgi.file_wrapper``
    keeps its sendfile), or that object behind the first chunk when the application
    only starts its response on being iterated.
    """
    started: list[Any] = []
    written: list[bytes] = []
    returned = False

    def start_response(
        status: str, headers: list[tuple[str, str]], exc_info: Any = None
    ) -> Callable[[bytes], None]:
        if exc_info and (written or returned):
            raise exc_info[1].with_traceback(exc_info[2])
        started[:] = [status, headers]
        return written.append

    answer = app(environ, start_response)
    if not started or written:
        answer = _Begun(answer, written)
    assert started, "the application never started its response"
    returned = True
    return started[0], started[1], answer


class _Begun:
    """An application's body, advanced just far enough to have its status."""

    def __init__(self, answer: Iterable[bytes], written: list[bytes]) -> None:
        self._answer = answer
        try:
            chunks: Iterator[bytes] = iter(answer)
            first = list(itertools.islice(chunks, 1))
        except BaseException:
            self.close()
            raise
        self._chunks = itertools.chain(written, first, chunks)

    def __iter__(self) -> Iterator[bytes]:
        return self._chunks

    def __next__(self) -> bytes:
        return next(self._chunks)

    def close(self) -> None:
        if hasattr(self._answer, "close"):
            self._answer.close()
