"""Metrics and the log, attached from outside: whatever is measured calls back, and imports nothing of this."""

import json
import logging
import os
import re
import time
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.artifact.manifest import Manifest
from app.batching import Call

LATENCY_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
WINDOWS_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
SHARED_METRICS = "PROMETHEUS_MULTIPROC_DIR"  # prometheus_client's name for where several processes keep theirs
REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")


class Telemetry:
    """The metrics of one process, or its part of those of all workers."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self._requests = Counter(
            "pricecast_requests", "Requests answered.", ["route", "method", "status"], registry=registry
        )
        self._latency = Histogram(
            "pricecast_request_seconds", "From a request's arrival to its answer.", ["route"],
            buckets=LATENCY_BUCKETS_S, registry=registry,
        )  # fmt: skip
        self._windows = Histogram(
            "pricecast_call_windows", "Windows in one engine call.", buckets=WINDOWS_BUCKETS, registry=registry
        )
        self._waited = Histogram(
            "pricecast_queue_seconds", "Wait for a lane, of the oldest window in a call.",
            buckets=LATENCY_BUCKETS_S, registry=registry,
        )  # fmt: skip
        self._took = Histogram(
            "pricecast_engine_seconds",
            "One engine call, with its wait for a thread.",
            buckets=LATENCY_BUCKETS_S,
            registry=registry,
        )
        self._failed = Counter("pricecast_calls_failed", "Engine calls that failed.", registry=registry)
        self._answered: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        self._model = Gauge(
            "pricecast_model_info",
            "1 for each served model version.",
            ["name", "version", "engine"],
            registry=registry,
            multiprocess_mode="livemax",
        )

    def called(self, call: Call) -> None:
        """Counts one engine call."""
        self._windows.observe(call.windows)
        self._waited.observe(call.waited_s)
        self._took.observe(call.took_s)
        if call.failed:
            self._failed.inc()

    def serving(self, manifest: Manifest, engine: str) -> None:
        """Notes a model version that is served."""
        self._model.labels(manifest.name, manifest.version, engine).set(1)

    def answered(self, route: str, method: str, status: int, took_s: float) -> None:
        """Counts one request."""
        found = self._answered.get((route, method, status))
        if found is None:  # looking labels up costs more than counting
            found = self._requests.labels(route, method, status), self._latency.labels(route)
            self._answered[route, method, status] = found
        requests, latency = found
        requests.inc()
        latency.observe(took_s)

    def exposition(self) -> bytes:
        """All metrics in Prometheus's text format, summed over the workers."""
        if SHARED_METRICS not in os.environ:
            return generate_latest(self.registry)
        everyone = CollectorRegistry()
        MultiProcessCollector(everyone)
        return generate_latest(everyone)


class RequestScope:
    """Middleware around the whole application: gives a request its id, and counts it when it is answered."""

    def __init__(self, app: ASGIApp, telemetry: Telemetry) -> None:
        self._app = app
        self._telemetry = telemetry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        sent = dict(scope["headers"]).get(b"x-request-id")
        request_id = sent if sent and REQUEST_ID.fullmatch(sent) else os.urandom(16).hex().encode()
        scope.setdefault("state", {})["request_id"] = request_id.decode()
        status = 500

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", request_id)]
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        finally:
            # Never the path itself, nor a method that no route has: anyone can invent those.
            route = getattr(scope.get("route"), "path", "unmatched")
            method = "any" if route == "unmatched" or status == 405 else scope["method"]
            self._telemetry.answered(route, method, status, time.perf_counter() - started)


class JsonLines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "process": record.process,
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def log_to_stderr(level: str) -> None:
    """Sends every logger's records to standard error, as JSON lines."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
