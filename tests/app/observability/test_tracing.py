"""Tracing: the spans of requests, and their export to a collector."""

import asyncio
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from app import __version__, main
from app.inference.forecaster import Forecaster, PreprocessedBatch
from app.observability.tracing import Tracing
from app.serving.registry import Registry
from app.settings import Settings
from tests.app.api.app_client import AppClient, running_app
from tests.prices import PRICES

TRACE_ID, SPAN_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
ENDPOINT: Any = "http://127.0.0.1:9/v1/traces"  # nothing listens here


@pytest.fixture(scope="module")
def traced_client(shipped: Path) -> Iterator[tuple[AppClient, InMemorySpanExporter]]:
    """A started application, and the exporter that keeps its spans."""
    exporter = InMemorySpanExporter()
    with ExitStack() as stack:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(
                "app.observability.tracing.Tracing", lambda endpoint: Tracing(endpoint, SimpleSpanProcessor(exporter))
            )
            client = stack.enter_context(running_app(Settings(models_dir=shipped, otlp_endpoint=ENDPOINT)))
        yield client, exporter


def only_span(
    traced_client: tuple[AppClient, InMemorySpanExporter], method: str, path: str, **how: Any
) -> ReadableSpan:
    """Send a request and return its only span."""
    client, exporter = traced_client
    exporter.clear()
    client.request(method, path, **how)
    [span] = exporter.get_finished_spans()
    return span


def test_span_has_the_route_and_the_status(
    traced_client: tuple[AppClient, InMemorySpanExporter],
) -> None:
    span = only_span(traced_client, "GET", "/models/default")
    assert (span.name, span.kind) == ("GET /models/{name}", SpanKind.SERVER)
    assert dict(span.attributes or {}) == {
        "http.request.method": "GET",
        "http.route": "/models/{name}",
        "http.response.status_code": 200,
    }
    assert span.status.status_code is StatusCode.UNSET
    assert span.parent is None
    assert span.resource.attributes["service.name"] == "pricecast"
    assert span.resource.attributes["service.version"] == __version__


def test_fast_path_has_a_span(traced_client: tuple[AppClient, InMemorySpanExporter]) -> None:
    assert only_span(traced_client, "POST", "/predict", json={"prices": PRICES}).name == "POST /predict"


def test_span_joins_the_trace_of_the_caller(traced_client: tuple[AppClient, InMemorySpanExporter]) -> None:
    span = only_span(traced_client, "GET", "/health/live", headers={"traceparent": f"00-{TRACE_ID}-{SPAN_ID}-01"})
    assert span.parent is not None
    assert (f"{span.context.trace_id:032x}", f"{span.parent.span_id:016x}") == (TRACE_ID, SPAN_ID)
    assert f"{span.context.span_id:016x}" != SPAN_ID


def test_unsampled_trace_is_not_recorded(traced_client: tuple[AppClient, InMemorySpanExporter]) -> None:
    client, exporter = traced_client
    exporter.clear()
    response = client.get("/health/live", headers={"traceparent": f"00-{TRACE_ID}-{SPAN_ID}-00"})
    assert exporter.get_finished_spans() == ()
    assert response.headers["x-request-id"] == TRACE_ID


def test_request_id_of_traced_request_is_the_trace_id(
    traced_client: tuple[AppClient, InMemorySpanExporter],
) -> None:
    client, exporter = traced_client
    exporter.clear()
    responses: list[httpx.Response] = []
    [line] = client.capture_request_log(lambda: responses.append(client.get("/nowhere")))
    [span] = exporter.get_finished_spans()
    trace_id = f"{span.context.trace_id:032x}"
    assert responses[0].headers["x-request-id"] == responses[0].json()["request_id"] == trace_id
    assert line["trace_id"] == line["request_id"] == trace_id


def test_log_line_has_a_sent_request_id_and_the_trace_id(
    traced_client: tuple[AppClient, InMemorySpanExporter],
) -> None:
    client, exporter = traced_client
    exporter.clear()
    [line] = client.capture_request_log(lambda: client.get("/health/live", headers={"x-request-id": "order-66"}))
    [span] = exporter.get_finished_spans()
    assert (line["request_id"], line["trace_id"]) == ("order-66", f"{span.context.trace_id:032x}")


@pytest.mark.parametrize(
    ("body", "status", "problem"), [({"prices": [1]}, 422, "invalid-content"), ({"model": "x"}, 422, "invalid-content")]
)
def test_client_error_is_recorded_but_does_not_fail_the_span(
    traced_client: tuple[AppClient, InMemorySpanExporter], body: Any, status: int, problem: str
) -> None:
    span = only_span(traced_client, "POST", "/predict", json=body)
    assert span.attributes is not None
    assert (span.attributes["http.response.status_code"], span.attributes["error.type"]) == (status, problem)
    assert span.status.status_code is StatusCode.UNSET


def test_server_error_fails_the_span(
    traced_client: tuple[AppClient, InMemorySpanExporter], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Forecaster, batch: PreprocessedBatch) -> None:
        raise RuntimeError("secret-4711")

    monkeypatch.setattr(Forecaster, "infer", broken)
    span = only_span(traced_client, "POST", "/predict", json={"prices": PRICES})
    assert span.attributes is not None
    assert (span.attributes["http.response.status_code"], span.attributes["error.type"]) == (500, "internal-error")
    assert span.status.status_code is StatusCode.ERROR
    assert "secret-4711" not in span.to_json()


def test_failed_request_has_the_route_in_its_span(
    traced_client: tuple[AppClient, InMemorySpanExporter], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Registry, "published", None)
    span = only_span(traced_client, "GET", "/models")
    assert span.name == "GET /models"
    assert span.attributes is not None
    assert (span.attributes["http.route"], span.attributes["error.type"]) == ("/models", "internal-error")


def test_unmatched_path_is_not_in_the_span(traced_client: tuple[AppClient, InMemorySpanExporter]) -> None:
    span = only_span(traced_client, "GET", "/invented")
    assert span.name == "GET"
    assert "invented" not in span.to_json()


def test_websocket_has_no_span() -> None:
    exporter = InMemorySpanExporter()
    seen: list[str] = []

    async def inner_app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["type"])

    async def unused(*_: object) -> Any:
        raise AssertionError

    async def connect() -> None:
        await Tracing(ENDPOINT, SimpleSpanProcessor(exporter)).wrap(inner_app)({"type": "websocket"}, unused, unused)

    asyncio.run(connect())
    assert (seen, exporter.get_finished_spans()) == (["websocket"], ())


# Export


@contextmanager
def collector() -> Iterator[tuple[str, list[tuple[str, ExportTraceServiceRequest]]]]:
    """Run a collector. Yield its URL and the (path, content) of each request it receives."""
    received: list[tuple[str, ExportTraceServiceRequest]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["content-length"]))
            received.append((self.path, ExportTraceServiceRequest.FromString(content)))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1/traces", received
        finally:
            server.shutdown()
            thread.join()


def test_spans_are_exported_at_shutdown(shipped: Path) -> None:
    with (
        collector() as (endpoint, received),
        running_app(Settings.model_validate({"models_dir": shipped, "otlp_endpoint": endpoint})) as client,
    ):
        headers = {"traceparent": f"00-{TRACE_ID}-{SPAN_ID}-01"}
        assert client.post("/predict", json={"prices": PRICES}, headers=headers).status_code == 200
    [(path, content)] = received
    [span] = content.resource_spans[0].scope_spans[0].spans
    assert path == "/v1/traces"
    assert (span.name, span.trace_id.hex(), span.parent_span_id.hex()) == ("POST /predict", TRACE_ID, SPAN_ID)
    assert span.end_time_unix_nano > span.start_time_unix_nano


def test_without_endpoint_opentelemetry_is_not_imported(shipped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "app.observability.tracing")
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with running_app(Settings(models_dir=shipped)) as client:
        assert client.get("/health/ready").status_code == 200
    assert "app.observability.tracing" not in sys.modules


def test_endpoint_without_the_otel_packages_fails_at_startup(shipped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "app.observability.tracing")
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(SystemExit, match=r"PRICECAST_OTLP_ENDPOINT needs the packages of requirements/otel\.txt: "):
        main.create_app(Settings(models_dir=shipped, otlp_endpoint=ENDPOINT))
