"""Metrics, attached from outside: whatever is measured calls back, and imports nothing of this."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, start_http_server
from prometheus_client.multiprocess import MultiProcessCollector

from app.artifact.manifest import Manifest
from app.serving.batcher import Call

LATENCY_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
WINDOWS_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
MULTIPROC_DIR_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"  # prometheus_client's name for where several processes keep theirs


class Metrics:
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
        self._problems = Counter(
            "pricecast_problems", "Requests answered with a problem, by its kind: refused, expired, faulty or failed.",
            ["reason"], registry=registry,
        )  # fmt: skip
        self._joined = Counter(
            "pricecast_coalesced_windows", "Windows that had their like in flight and were not computed again.",
            registry=registry,
        )  # fmt: skip
        self._warnings = Counter("pricecast_warnings", "Warnings in forecasts.", ["code"], registry=registry)
        self._load_failures = Counter(
            "pricecast_load_failures", "Versions of a model that could not be loaded.", ["name"], registry=registry
        )
        self._model = Gauge(
            "pricecast_model_info",
            "1 while a model version is served, 0 when it is not any more.",
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

    def joined(self, windows: int) -> None:
        """Counts windows that were not computed again."""
        self._joined.inc(windows)

    def warned(self, code: str) -> None:
        """Counts a warning."""
        self._warnings.labels(code).inc()

    def serving(self, manifest: Manifest, engine: str, *, is_served: bool = True) -> None:
        """Notes whether a model version is served."""
        self._model.labels(manifest.name, manifest.version, engine).set(int(is_served))

    def load_failed(self, name: str) -> None:
        """Counts a version of a model that could not be loaded."""
        self._load_failures.labels(name).inc()

    def answered(self, route: str, method: str, status: int, took_s: float, problem: str | None = None) -> None:
        """Counts one request."""
        found = self._answered.get((route, method, status))
        if found is None:  # looking labels up costs more than counting
            found = self._requests.labels(route, method, status), self._latency.labels(route)
            self._answered[route, method, status] = found
        requests, latency = found
        requests.inc()
        latency.observe(took_s)
        if problem is not None:
            self._problems.labels(problem).inc()

    def exposition(self) -> bytes:
        """All metrics in Prometheus's text format, summed over the workers."""
        return generate_latest(all_processes_registry() if MULTIPROC_DIR_VARIABLE in os.environ else self.registry)


def all_processes_registry() -> CollectorRegistry:
    """The metrics of all processes that share a directory for them."""
    registry = CollectorRegistry()
    MultiProcessCollector(registry)
    return registry


@contextmanager
def metrics_server(host: str, port: int, registry: CollectorRegistry) -> Iterator[None]:
    """Shows metrics on a port of their own for as long as this is entered; not at all for port 0."""
    if not port:
        yield
        return
    try:
        server, thread = start_http_server(port, host, registry)
    except OSError as error:
        raise SystemExit(f"cannot listen on {host}:{port}: {error.strerror}") from error
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
