"""Spans of requests by OpenTelemetry, for the filter ``tracing``. Needs ``imsgate[tracing]``."""

import logging
import os
import socket
from collections.abc import Sequence
from importlib import metadata
from typing import Any

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.wsgi import OpenTelemetryMiddleware
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import Span
from opentelemetry.util.http import sanitize_method

from imsgate.http.request import Request
from imsgate.http.wsgi import Environ, WsgiApp
from imsgate.telemetry import trace_context
from imsgate.telemetry.dependencies import Dependency
from imsgate.telemetry.trace_context import Trace

LOG = logging.getLogger(__name__)

COLLECTOR = Dependency("The trace collector", LOG)

_PATH = "/v1/traces"


def middleware(app: WsgiApp, endpoint: str | None, sample_ratio: float, key: str) -> WsgiApp:
    """OpenTelemetry's middleware, which starts the thread that sends the spans.

    ``key`` is the entry of the environ that contains the environ of the request.
    """
    provider = TracerProvider(
        sampler=ParentBased(TraceIdRatioBased(sample_ratio)), resource=_resource()
    )
    exporter = OTLPSpanExporter(endpoint=endpoint and endpoint.rstrip("/") + _PATH)
    provider.add_span_processor(BatchSpanProcessor(_Reporting(exporter)))

    def begun(span: Span, environ: Environ) -> None:
        _enter(span, Request(environ[key]))

    def answered(span: Span, environ: Environ, status: str, headers: Any) -> None:
        _describe(span, Request(environ[key]))

    made: WsgiApp = OpenTelemetryMiddleware(
        app,
        request_hook=begun,
        response_hook=answered,
        tracer_provider=provider,
        meter_provider=NoOpMeterProvider(),  # imsgate.metrics counts
    )
    return made


def _resource() -> Resource:
    """What this process is. OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES take precedence."""
    own: dict[str, str | int] = {
        "service.name": "imsgate",
        "service.version": metadata.version("imsgate"),
        "host.name": socket.gethostname(),
        "process.pid": os.getpid(),
    }
    return Resource.create({**own}).merge(OTELResourceDetector().detect())


def _enter(span: Span, request: Request) -> None:
    """Let the request belong to the trace of its span."""
    context = span.get_span_context()
    trace = Trace(
        f"{context.trace_id:032x}",
        f"{context.span_id:016x}",
        int(context.trace_flags),
        context.trace_state.to_header(),
    )
    trace_context.enter(trace)
    request.notes.trace_id = trace.trace_id
    if request.request_id:
        span.set_attribute("imsgate.request_id", request.request_id)


def _describe(span: Span, request: Request) -> None:
    """Name a span by the route; a path contains ids."""
    notes = request.notes
    method = sanitize_method(request.method)
    span.update_name(f"{method} {notes.route}" if notes.route else method)
    if notes.route:
        span.set_attribute("http.route", notes.route)
    if notes.image_id:
        span.set_attribute("imsgate.image_id", notes.image_id)
    if notes.error:
        span.set_attribute("imsgate.reason", notes.error.reason)


class _Reporting(SpanExporter):
    """An exporter whose failures are logged as those of any other dependency."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        # It logs each attempt.
        logging.getLogger(OTLPSpanExporter.__module__).setLevel(logging.CRITICAL)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export(spans)
        if result is SpanExportResult.SUCCESS:
            COLLECTOR.works()
        else:
            COLLECTOR.failed("it does not accept spans; they are dropped")
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return self._exporter.force_flush(timeout_millis)
