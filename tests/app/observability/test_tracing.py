"""Spans: what a trace shows of a request, and that they reach a collector."""

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
from app.inference.forecaster import PreprocessedBatch, Forecaster
from app.observability.tracing import Tracing
from app.serving.registry import Registry
from app.settings import Settings
from tests.app.api.conftest import Client, start

PRICES = [100.0 + i % 7 for i in range(60)]
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
ENDPOINT: Any = "http://127.0.0.1:9/v1/traces"  # where nobody listens


@pytest.fixture(scope="module")
def traced(shipped: Path) -> Iterator[tuple[Client, InMemorySpanExporter]]:
    """A server whose spans are kept, and where."""
    exporter = InMemorySpanExporter()
    with ExitStack() as stack:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(
                "app.observability.tracing.Tracing", lambda endpoint: Tracing(endpoint, SimpleSpanProcessor(exporter))
            )
            starting = contextmanager(start)(Settings(models_dir=shipped, otlp_endpoint=ENDPOINT))
            client = stack.enter_context(starting)
        yield client, exporter


def the_span(traced: tuple[Client, InMemorySpanExporter], method: str, path: str, **how: Any) -> ReadableSpan:
    """The one span of a request."""
    client, exporter = traced
    exporter.clear()
    client.request(method, path, **how)
    [span] = exporter.get_finished_spans()
    return span


def test_a_span_is_named_for_its_route_and_says_what_became_of_the_request(
    traced: tuple[Client, InMemorySpanExporter],
) -> None:
    span = the_span(traced, "GET", "/models/default")
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


def test_a_forecast_has_a_span_too(traced: tuple[Client, InMemorySpanExporter]) -> None:
    assert the_span(traced, "POST", "/predict", json={"prices": PRICES}).name == "POST /predict"


def test_a_span_is_part_of_its_callers_trace(traced: tuple[Client, InMemorySpanExporter]) -> None:
    span = the_span(traced, "GET", "/health/live", headers={"traceparent": f"00-{TRACE}-{SPAN}-01"})
    assert span.parent is not None
    assert (f"{span.context.trace_id:032x}", f"{span.parent.span_id:016x}") == (TRACE, SPAN)
    assert f"{span.context.span_id:016x}" != SPAN


def test_a_caller_who_does_not_record_is_not_recorded(traced: tuple[Client, InMemorySpanExporter]) -> None:
    client, exporter = traced
    exporter.clear()
    response = client.get("/health/live", headers={"traceparent": f"00-{TRACE}-{SPAN}-00"})
    assert exporter.get_finished_spans() == ()
    assert response.headers["x-request-id"] == TRACE


def test_the_id_of_a_request_and_of_its_line_in_the_log_are_those_of_its_trace(
    traced: tuple[Client, InMemorySpanExporter],
) -> None:
    client, exporter = traced
    exporter.clear()
    responses: list[httpx.Response] = []
    [line] = client.logged(lambda: responses.append(client.get("/nowhere")))
    [span] = exporter.get_finished_spans()
    trace_id = f"{span.context.trace_id:032x}"
    assert responses[0].headers["x-request-id"] == responses[0].json()["request_id"] == trace_id
    assert line["trace_id"] == line["request_id"] == trace_id


def test_a_request_that_states_its_own_id_keeps_it_and_is_found_by_its_trace_as_well(
    traced: tuple[Client, InMemorySpanExporter],
) -> None:
    client, exporter = traced
    exporter.clear()
    [line] = client.logged(lambda: client.get("/health/live", headers={"x-request-id": "order-66"}))
    [span] = exporter.get_finished_spans()
    assert (line["request_id"], line["trace_id"]) == ("order-66", f"{span.context.trace_id:032x}")


@pytest.mark.parametrize(
    ("body", "status", "problem"), [({"prices": [1]}, 422, "invalid-content"), ({"model": "x"}, 422, "invalid-content")]
)
def test_what_a_client_did_wrong_is_named_and_no_error_of_the_server(
    traced: tuple[Client, InMemorySpanExporter], body: Any, status: int, problem: str
) -> None:
    span = the_span(traced, "POST", "/predict", json=body)
    assert span.attributes is not None
    assert (span.attributes["http.response.status_code"], span.attributes["error.type"]) == (status, problem)
    assert span.status.status_code is StatusCode.UNSET


def test_what_the_server_did_wrong_is_an_error(
    traced: tuple[Client, InMemorySpanExporter], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Forecaster, batch: PreprocessedBatch) -> None:
        raise RuntimeError("secret-4711")

    monkeypatch.setattr(Forecaster, "infer", broken)
    span = the_span(traced, "POST", "/predict", json={"prices": PRICES})
    assert span.attributes is not None
    assert (span.attributes["http.response.status_code"], span.attributes["error.type"]) == (500, "internal-error")
    assert span.status.status_code is StatusCode.ERROR
    assert "secret-4711" not in span.to_json()


def test_a_request_that_fails_is_named_for_its_route_as_well(
    traced: tuple[Client, InMemorySpanExporter], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Registry, "published", None)
    span = the_span(traced, "GET", "/models")
    assert span.name == "GET /models"
    assert span.attributes is not None
    assert (span.attributes["http.route"], span.attributes["error.type"]) == ("/models", "internal-error")


def test_a_path_that_nothing_has_names_no_span(traced: tuple[Client, InMemorySpanExporter]) -> None:
    span = the_span(traced, "GET", "/invented")
    assert span.name == "GET"
    assert "invented" not in span.to_json()


def test_what_is_no_request_has_no_span() -> None:
    exporter = InMemorySpanExporter()
    seen: list[str] = []

    async def behind(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["type"])

    async def nothing(*_: object) -> Any:
        raise AssertionError

    async def connect() -> None:
        await Tracing(ENDPOINT, SimpleSpanProcessor(exporter)).around(behind)({"type": "websocket"}, nothing, nothing)

    asyncio.run(connect())
    assert (seen, exporter.get_finished_spans()) == (["websocket"], ())


# A collector


@contextmanager
def collector() -> Iterator[tuple[str, list[tuple[str, ExportTraceServiceRequest]]]]:
    """Its address, and what has been sent to it: path and content."""
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


def test_spans_are_sent_to_the_collector_before_the_end(shipped: Path) -> None:
    with collector() as (endpoint, received):
        for client in start(Settings.model_validate({"models_dir": shipped, "otlp_endpoint": endpoint})):
            headers = {"traceparent": f"00-{TRACE}-{SPAN}-01"}
            assert client.post("/predict", json={"prices": PRICES}, headers=headers).status_code == 200
    [(path, content)] = received
    [span] = content.resource_spans[0].scope_spans[0].spans
    assert path == "/v1/traces"
    assert (span.name, span.trace_id.hex(), span.parent_span_id.hex()) == ("POST /predict", TRACE, SPAN)
    assert span.end_time_unix_nano > span.start_time_unix_nano


def test_without_an_endpoint_nothing_of_it_is_needed(shipped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "app.observability.tracing")
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    for client in start(Settings(models_dir=shipped)):
        assert client.get("/health/ready").status_code == 200
    assert "app.observability.tracing" not in sys.modules


def test_without_its_packages_an_endpoint_stops_the_start_and_the_line_says_what_is_missing(
    shipped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "app.observability.tracing")
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(SystemExit, match=r"PRICECAST_OTLP_ENDPOINT needs the packages of requirements/otel\.txt: "):
        main.create_app(Settings(models_dir=shipped, otlp_endpoint=ENDPOINT))
