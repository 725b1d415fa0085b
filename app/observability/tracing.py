"""OpenTelemetry tracing: one server span per request. Requires the packages in requirements/otel.txt."""

import asyncio

from opentelemetry import propagate, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import __version__


class Tracing:
    """Owns the tracer provider and exports its spans to a collector."""

    def __init__(self, endpoint: str, processor: SpanProcessor | None = None) -> None:
        """Set up the export of spans.

        Args:
            endpoint: URL of a collector that accepts OTLP over HTTP.
            processor: Receives the spans in place of the collector.
        """
        resource = Resource.create({"service.name": "pricecast", "service.version": __version__})
        self._provider = TracerProvider(resource=resource)
        self._provider.add_span_processor(processor or BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
        self._tracer = self._provider.get_tracer("pricecast", __version__)

    def wrap(self, app: ASGIApp) -> ASGIApp:
        """Wrap an application in middleware that records a span for each request."""
        return TracingMiddleware(app, self._tracer)

    async def close(self) -> None:
        """Export the remaining spans and shut down."""
        await asyncio.to_thread(self._provider.shutdown)


class TracingMiddleware:
    """Records a span for each HTTP request, as a child of the span in the caller's `traceparent` header.

    It must be the outermost middleware: it sets `scope["state"]["trace_id"]` for the request context.
    """

    def __init__(self, app: ASGIApp, tracer: trace.Tracer) -> None:
        self._app = app
        self._tracer = tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application within a span."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        parent = propagate.extract(headers)
        with self._tracer.start_as_current_span(scope["method"], parent, trace.SpanKind.SERVER) as span:

            async def send_and_record_status(message: Message) -> None:
                if message["type"] == "http.response.start":
                    span.set_attribute("http.response.status_code", message["status"])
                    if message["status"] >= 500:
                        span.set_status(trace.StatusCode.ERROR)
                await send(message)

            state = scope.setdefault("state", {})
            state["trace_id"] = trace.format_trace_id(span.get_span_context().trace_id).encode()
            try:
                await self._app(scope, receive, send_and_record_status)
            finally:
                span.set_attribute("http.request.method", scope["method"])
                if route := getattr(scope.get("route"), "path", None):
                    span.update_name(f"{scope['method']} {route}")
                    span.set_attribute("http.route", route)
                if problem := state.get("problem"):
                    span.set_attribute("error.type", problem)
