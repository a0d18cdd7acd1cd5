"""The outermost filter: request ids, the access log, forged identity headers, unexpected errors.

::

    [filter:faults]
    use = egg:imsgate#faults

First in the pipeline, so that every response contains ``X-Openstack-Request-Id`` and every
request is logged once, when its response is complete, with user, project, image, bytes, seconds,
and the reason if it was refused. Headers with which a client could pretend
that an authentication filter has authenticated it are removed before any filter trusts them.
``aksk`` can still read them (``PRESENTED``), because a signature may cover them. An unexpected
exception is logged with its traceback. The response contains only the request id, in the form of
Huawei's image service if the client uses that.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeAlias, cast

import webob
from oslo_context import context

from imsgate import errors
from imsgate.auth.identity import remove_variables
from imsgate.config import Section
from imsgate.filters import base, outgoing
from imsgate.http import access_log, responses, wsgi
from imsgate.http import headers as request_headers
from imsgate.http.notes import Finished, RequestNotes
from imsgate.http.request import NOTES, PRESENTED, REQUEST_ID, Request
from imsgate.http.wsgi import Environ, WsgiApp
from imsgate.telemetry import trace_context

_ID_HEADER = "X-Openstack-Request-Id"

#: What start_response returns (PEP 3333).
Write: TypeAlias = Callable[[bytes], Any]


class Faults(base.Filter[Section]):
    NAME = "faults"

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        environ[PRESENTED] = remove_variables(environ)
        request_id = context.generate_request_id()
        global_request_id = request_headers.request_id(environ.get("HTTP_X_OPENSTACK_REQUEST_ID"))
        environ[REQUEST_ID] = environ["openstack.request_id"] = request_id
        trace = trace_context.received(
            environ.get("HTTP_TRACEPARENT"), environ.get("HTTP_TRACESTATE")
        )
        trace_context.enter(trace)
        environ[NOTES] = RequestNotes(trace_id=trace.trace_id)
        if global_request_id:
            environ["openstack.global_request_id"] = global_request_id
        # oslo.log adds the ids to every line that this thread logs from here on.
        trace_context.LogContext(
            request_id=request_id, global_request_id=global_request_id, overwrite=True
        )
        exchange = LoggedExchange(Request(environ), self.log)

        def start(
            status: str, fields: list[tuple[str, str]], exc_info: Any = None
        ) -> Callable[[bytes], Any]:
            exchange.status = status.partition(" ")[0]
            headers = webob.headers.ResponseHeaders(fields)
            exchange.announced = headers.get("Content-Length", "")
            exchange.reason = headers.get("X-Imsgate-Reason", "")
            fields = [(name, text) for name, text in fields if name.lower() != _ID_HEADER.lower()]
            fields.append((_ID_HEADER, request_id))
            # Servers may fail if they get exc_info without need.
            arguments = (exc_info,) if exc_info else ()
            return cast(Write, start_response(status, fields, *arguments))

        started = wsgi.Start(start)

        def respond(error: Exception) -> Iterable[bytes]:
            return self._response(error, environ, request_id)(environ, started.anew)

        try:
            chunks = self.app(environ, started)
        except Exception as error:
            chunks = respond(error)
        return exchange.watch(chunks, respond)

    def _response(self, error: Exception, environ: Environ, request_id: str) -> WsgiApp:
        """The response to a request whose application raised ``error``."""
        if isinstance(error, errors.Error):
            return responses.refusal(error)
        self.log.exception("Unexpected failure")
        environ[NOTES].error = environ[NOTES].error or errors.Error()
        if responses.speaks_ims(environ):
            return responses.refusal(errors.Error())
        page = webob.Response(
            status=500,
            content_type="text/plain",
            charset="UTF-8",
            text=f"The server failed unexpectedly. Request id: {request_id}\n",
        )
        return responses.identified(cast(WsgiApp, page), environ)


class LoggedExchange:
    """One request and its response, logged once when the response is closed."""

    def __init__(self, request: Request, log: logging.Logger) -> None:
        self._request = request
        self.log = log
        self._began = time.monotonic()
        self._is_finished = False
        #: The status code that was sent, "-" before that.
        self.status = "-"
        #: The Content-Length of the response as text, "" without one.
        self.announced = ""
        #: The X-Imsgate-Reason of the response, "" without one.
        self.reason = ""
        #: Bytes of the response's body that were sent.
        self.sent = 0

    def watch(
        self, chunks: Iterable[bytes], respond: Callable[[Exception], Iterable[bytes]]
    ) -> Iterable[bytes]:
        """``chunks``, counted. The file wrapper of the server stays the same object.

        ``respond`` makes the response if the application fails before it starts one.
        """
        if not outgoing.is_file(chunks, self._request.environ):
            return WatchedBody(chunks, self, respond)
        if self.announced.isdigit():
            self.sent = int(self.announced)  # bytes sent by sendfile cannot be counted
        outgoing.watch_file(chunks, self.finish)
        return chunks

    def finish(self) -> None:
        """Write the line of the access log, once, and report the end to the filter metrics."""
        if self._is_finished:
            return
        self._is_finished = True
        finished = Finished(self.status, self.sent, time.monotonic() - self._began)
        access_log.write(self.log, self._request, finished, self.reason)
        on_finish = self._request.notes.on_finish
        if on_finish is not None:
            on_finish(finished)
        trace_context.enter(None)


class WatchedBody:
    """The chunks of a response, counted. Its end is logged, and so is a failure."""

    def __init__(
        self,
        chunks: Iterable[bytes],
        exchange: LoggedExchange,
        respond: Callable[[Exception], Iterable[bytes]],
    ) -> None:
        self._response = chunks
        self._chunks: Iterator[bytes] = iter(chunks)
        self._exchange = exchange
        self._respond = respond

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            chunk = next(self._chunks)
        except StopIteration:
            raise
        except Exception as error:
            if self._exchange.status == "-":
                self._chunks = iter(self._respond(error))
                return next(self)
            # The status has been sent. All that can be done is to end the connection before the
            # announced Content-Length, which the server does.
            self._exchange.log.exception("Failure while sending the response")
            raise
        self._exchange.sent += len(chunk)
        return chunk

    def close(self) -> None:
        try:
            if hasattr(self._response, "close"):
                self._response.close()
        finally:
            self._exchange.finish()


filter_factory = base.filter_factory(Faults)
