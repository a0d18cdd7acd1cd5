"""Outermost: request ids, the access log, forged identities, and bugs.

::

    [filter:faults]
    use = egg:imsgate#faults

First in the pipeline, so that every answer carries ``X-Openstack-Request-Id``
and every request is logged once, when its answer is finished. Headers by which
a client could pretend that an authentication filter had vouched for it are
removed here, before anything trusts them. An exception nobody foresaw is
logged with its traceback and answered with the request id and nothing else.
"""

import re
import sys
import time
import urllib.parse
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import webob
from oslo_context import context

from imsgate import body, errors, headers, wsgi
from imsgate.filters import base
from imsgate.wsgi import Environ, Request

# Every name keystonemiddleware sets, with and without its service prefix. WSGI
# spells X-Roles and X_Roles alike, so the underscore variants fall here too.
# X-Auth-Token and X-Service-Token are what a client may send.
_IDENTITY = re.compile(
    r"HTTP_(X|OPENSTACK)_(SERVICE_)?"
    r"(IDENTITY_STATUS|SYSTEM_SCOPE|ROLES?|CATALOG|IS_ADMIN_PROJECT|TOKEN_INFO|TRUST_ID|"
    r"(USER|PROJECT|TENANT|DOMAIN)(_DOMAIN)?(_(ID|NAME))?)|"
    r"HTTP_X_SERVICE_CATALOG|REMOTE_USER|HTTP_REMOTE_USER"
)

_ID_HEADER = "X-Openstack-Request-Id"


class Faults(base.Filter):
    NAME = "faults"

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        for name in [key for key in environ if _IDENTITY.fullmatch(key)]:
            del environ[name]
        request_id = context.generate_request_id()
        inbound = headers.request_id(environ.get("HTTP_X_OPENSTACK_REQUEST_ID"))
        environ[wsgi.REQUEST_ID] = environ["openstack.request_id"] = request_id
        if inbound:
            environ["openstack.global_request_id"] = inbound
        # oslo.log puts both ids on every line this thread logs from here on.
        context.RequestContext(request_id=request_id, global_request_id=inbound, overwrite=True)
        exchange = Exchange(Request(environ), self.log)

        def start(
            status: str, fields: list[tuple[str, str]], exc_info: Any = None
        ) -> Callable[[bytes], Any]:
            exchange.status = status.partition(" ")[0]
            exchange.announced = dict(fields).get("Content-Length", "0")
            fields = [(name, text) for name, text in fields if name.lower() != _ID_HEADER.lower()]
            fields.append((_ID_HEADER, request_id))
            if exc_info:
                return start_response(status, fields, exc_info)
            return start_response(status, fields)

        try:
            answer = self.app(environ, start)
        except errors.Error as error:
            answer = wsgi.refusal(error)(environ, start)
        except Exception:
            self.log.exception("Unforeseen failure")
            answer = self._plain(request_id)(
                environ, lambda status, fields: start(status, fields, sys.exc_info())
            )
        return exchange.watch(answer)

    @staticmethod
    def _plain(request_id: str) -> webob.Response:
        return webob.Response(
            status=500,
            content_type="text/plain",
            charset="UTF-8",
            text=f"The server failed unexpectedly. Request id: {request_id}\n",
        )


class Exchange:
    """One request and its answer, logged once when the answer is closed."""

    def __init__(self, request: Request, log: Any) -> None:
        self._request = request
        self._log = log
        self._began = time.monotonic()
        self.status = "-"
        self.announced = "0"
        self.sent = 0

    def watch(self, answer: Iterable[bytes]) -> Iterable[bytes]:
        """``answer``, counted; a file the server sends by itself stays that very object."""
        wrapper = self._request.environ.get("wsgi.file_wrapper")
        if isinstance(wrapper, type) and isinstance(answer, wrapper):
            return self._watch_file(answer)
        return Watched(answer, self)

    def _watch_file(self, answer: Any) -> Iterable[bytes]:
        self.sent = int(self.announced)  # what leaves by sendfile is not seen
        close = getattr(answer, "close", lambda: None)

        def closed() -> None:
            try:
                close()
            finally:
                self.finish()

        try:
            answer.close = closed
        except AttributeError:  # a server's own C type (mod_wsgi): its end cannot be seen
            self.finish()
        return answer

    def finish(self) -> None:
        stream = self._request.environ.get("wsgi.input")
        self._log.info(
            '%s "%s %s" status: %s in: %d out: %d time: %.3f',
            self._request.remote_addr or "-",
            self._request.method,
            _printable(_target(self._request.environ)),
            self.status,
            stream.received if isinstance(stream, body.Tapped) else 0,
            self.sent,
            time.monotonic() - self._began,
        )


class Watched:
    """An answer's chunks, counted, its end logged and its failure too."""

    def __init__(self, answer: Iterable[bytes], exchange: Exchange) -> None:
        self._answer = answer
        self._chunks: Iterator[bytes] = iter(answer)
        self._exchange = exchange

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            chunk = next(self._chunks)
        except StopIteration:
            raise
        except Exception:
            # The status is out already: all that can be done is to end the
            # connection short of its Content-Length, which the server does.
            self._exchange._log.exception("Failure while sending the answer")
            raise
        self._exchange.sent += len(chunk)
        return chunk

    def close(self) -> None:
        try:
            if hasattr(self._answer, "close"):
                self._answer.close()
        finally:
            self._exchange.finish()


def _target(environ: Environ) -> str:
    """The path and query as they were asked for, whatever the path's encoding."""
    path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
    query = environ.get("QUERY_STRING", "")
    quoted = urllib.parse.quote(path.encode("latin-1"), safe="/~!$&'()*+,;=:@")
    return f"{quoted}?{query}" if query else quoted


def _printable(text: str) -> str:
    """``text`` with whatever could forge a log line escaped."""
    return text.encode("unicode_escape").decode("ascii")


filter_factory = base.filter_factory(Faults)
