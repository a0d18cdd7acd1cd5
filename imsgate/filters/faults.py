"""Outermost: request ids, the access log, forged identities, and bugs.

::

    [filter:faults]
    use = egg:imsgate#faults

First in the pipeline, so that every answer carries ``X-Openstack-Request-Id``
and every request is logged once, when its answer is finished. Headers by which
a client could pretend that an authentication filter had vouched for it are
removed here, before anything trusts them; ``aksk`` finds them again, since a
signature may cover them (``wsgi.PRESENTED``). An exception nobody foresaw is
logged with its traceback and answered with the request id and nothing else, to
clients of Huawei's image service in the form of that.
"""

import time
import urllib.parse
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import webob
from oslo_context import context

from imsgate import errors
from imsgate.auth.identity import remove_variables
from imsgate.filters import base
from imsgate.http import body, headers, responses, wsgi
from imsgate.http.request import PRESENTED, REQUEST_ID, Request
from imsgate.http.wsgi import Environ

_ID_HEADER = "X-Openstack-Request-Id"


class Faults(base.Filter):
    NAME = "faults"

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        environ[PRESENTED] = remove_variables(environ)
        request_id = context.generate_request_id()
        inbound = headers.request_id(environ.get("HTTP_X_OPENSTACK_REQUEST_ID"))
        environ[REQUEST_ID] = environ["openstack.request_id"] = request_id
        if inbound:
            environ["openstack.global_request_id"] = inbound
        # oslo.log puts both ids on every line this thread logs from here on.
        context.RequestContext(request_id=request_id, global_request_id=inbound, overwrite=True)
        exchange = LoggedExchange(Request(environ), self.log)

        def start(
            status: str, fields: list[tuple[str, str]], exc_info: Any = None
        ) -> Callable[[bytes], Any]:
            exchange.status = status.partition(" ")[0]
            exchange.announced = webob.headers.ResponseHeaders(fields).get("Content-Length", "")
            fields = [(name, text) for name, text in fields if name.lower() != _ID_HEADER.lower()]
            fields.append((_ID_HEADER, request_id))
            if exc_info:
                return start_response(status, fields, exc_info)
            return start_response(status, fields)

        started = wsgi.Start(start)

        def explain(error: Exception) -> Iterable[bytes]:
            if isinstance(error, errors.Error):
                page: wsgi.WsgiApp = responses.refusal(error)
            else:
                self.log.exception("Unforeseen failure")
                ims = responses.speaks_ims(environ)
                page = responses.refusal(errors.Error()) if ims else self._plain(request_id)
            chunks: Iterable[bytes] = page(environ, started.anew)
            return chunks

        try:
            answer = self.app(environ, started)
        except Exception as error:
            answer = explain(error)
        return exchange.watch(answer, explain)

    @staticmethod
    def _plain(request_id: str) -> webob.Response:
        return webob.Response(
            status=500,
            content_type="text/plain",
            charset="UTF-8",
            text=f"The server failed unexpectedly. Request id: {request_id}\n",
        )


class LoggedExchange:
    """One request and its answer, logged once when the answer is closed."""

    def __init__(self, request: Request, log: Any) -> None:
        self._request = request
        self._log = log
        self._began = time.monotonic()
        self.status = "-"
        self.announced = ""
        self.sent = 0

    def watch(
        self, answer: Iterable[bytes], explain: Callable[[Exception], Iterable[bytes]]
    ) -> Iterable[bytes]:
        """``answer``, counted; a file the server sends by itself stays that very object.

        ``explain`` answers for an application that fails before it starts its response.
        """
        wrapper = self._request.environ.get("wsgi.file_wrapper")
        if isinstance(wrapper, type) and isinstance(answer, wrapper):
            return self._watch_file(answer)
        return WatchedBody(answer, self, explain)

    def _watch_file(self, answer: Any) -> Iterable[bytes]:
        if self.announced.isdigit():
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
            _printable(self._request.remote_addr or "-"),
            _printable(self._request.method),
            _target(self._request.environ),
            self.status,
            stream.received if isinstance(stream, body.Tapped) else 0,
            self.sent,
            time.monotonic() - self._began,
        )


class WatchedBody:
    """An answer's chunks, counted, its end logged and its failure too."""

    def __init__(
        self,
        answer: Iterable[bytes],
        exchange: LoggedExchange,
        explain: Callable[[Exception], Iterable[bytes]],
    ) -> None:
        self._answer = answer
        self._chunks: Iterator[bytes] = iter(answer)
        self._exchange = exchange
        self._explain = explain

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            chunk = next(self._chunks)
        except StopIteration:
            raise
        except Exception as error:
            if self._exchange.status == "-":
                self._chunks = iter(self._explain(error))
                return next(self)
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
    """Path and query as they may have stood in the request line, and safe in a log line."""
    path = urllib.parse.quote(
        environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", ""),
        safe="/~:@!$&'()*+,;=",
        encoding="latin-1",
    )
    query = environ.get("QUERY_STRING", "")
    return path + (f"?{_printable(query)}" if query else "")


def _printable(text: str) -> str:
    """``text`` with whatever could forge a log line escaped."""
    return urllib.parse.quote(text, safe="/~:@!$&'()*+,;=%?[]", encoding="latin-1")


filter_factory = base.filter_factory(Faults)
