"""Prometheus metrics. The serving core does not import this module: it reports events through callbacks."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, start_http_server
from prometheus_client.multiprocess import MultiProcessCollector

from app.artifact.manifest import Manifest
from app.serving.batcher import Call

LATENCY_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
WINDOWS_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
MULTIPROC_DIR_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"  # set by the supervisor and read by prometheus_client


class Metrics:
    """The metrics of one process, in a registry of its own.

    With several server processes, prometheus_client also writes them to the directory that `MULTIPROC_DIR_VARIABLE`
    names, so that any process can expose the sums.
    """

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self._requests = Counter(
            "pricecast_requests", "Total requests answered.", ["route", "method", "status"], registry=registry
        )
        self._request_seconds = Histogram(
            "pricecast_request_seconds", "Time from a request's arrival to its answer, in seconds.", ["route"],
            buckets=LATENCY_BUCKETS_S, registry=registry,
        )  # fmt: skip
        self._call_windows = Histogram(
            "pricecast_call_windows", "Number of windows in an engine call.", buckets=WINDOWS_BUCKETS, registry=registry
        )
        self._queue_seconds = Histogram(
            "pricecast_queue_seconds",
            "Time that the oldest window of an engine call spent in the queue, in seconds.",
            buckets=LATENCY_BUCKETS_S,
            registry=registry,
        )
        self._engine_seconds = Histogram(
            "pricecast_engine_seconds",
            "Duration of an engine call, including its wait for an engine thread, in seconds.",
            buckets=LATENCY_BUCKETS_S,
            registry=registry,
        )
        self._calls_failed = Counter("pricecast_calls_failed", "Total engine calls that failed.", registry=registry)
        self._problems = Counter(
            "pricecast_problems", "Total requests answered with an error, by problem type.", ["reason"],
            registry=registry,
        )  # fmt: skip
        self._coalesced_windows = Counter(
            "pricecast_coalesced_windows",
            "Total windows that reused the result of an identical window in flight.",
            registry=registry,
        )
        self._warnings = Counter("pricecast_warnings", "Total warnings in forecasts.", ["code"], registry=registry)
        self._load_failures = Counter(
            "pricecast_load_failures", "Total failed attempts to load a model version.", ["name"], registry=registry
        )
        self._model_info = Gauge(
            "pricecast_model_info",
            "Model version: 1 while it is served, 0 after it was retired.",
            ["name", "version", "engine"],
            registry=registry,
            multiprocess_mode="livemax",
        )
        self._request_children: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    def record_engine_call(self, call: Call) -> None:
        """Record the size, queue wait, duration and outcome of an engine call."""
        self._call_windows.observe(call.windows)
        self._queue_seconds.observe(call.waited_s)
        self._engine_seconds.observe(call.took_s)
        if call.failed:
            self._calls_failed.inc()

    def record_coalesced_windows(self, windows: int) -> None:
        """Count windows that joined an identical window in flight."""
        self._coalesced_windows.inc(windows)

    def record_warning(self, code: str) -> None:
        """Count one warning in a forecast."""
        self._warnings.labels(code).inc()

    def set_model_served(self, manifest: Manifest, engine: str, *, is_served: bool) -> None:
        """Set whether a model version is served."""
        self._model_info.labels(manifest.name, manifest.version, engine).set(int(is_served))

    def record_load_failure(self, name: str) -> None:
        """Count one failed attempt to load a version of the model `name`."""
        self._load_failures.labels(name).inc()

    def record_request(
        self, route: str, method: str, status: int, duration_s: float, problem: str | None = None
    ) -> None:
        """Record one answered request.

        Args:
            route: Path template of the matched route.
            method: HTTP method.
            status: HTTP status of the answer.
            duration_s: Time from the request's arrival to its answer.
            problem: Problem type of the answer, if it is an error.
        """
        children = self._request_children.get((route, method, status))
        if children is None:  # cached, because `labels` takes longer than counting
            children = self._requests.labels(route, method, status), self._request_seconds.labels(route)
            self._request_children[route, method, status] = children
        requests, request_seconds = children
        requests.inc()
        request_seconds.observe(duration_s)
        if problem is not None:
            self._problems.labels(problem).inc()

    def exposition(self) -> bytes:
        """Return all metrics in the Prometheus text format, summed over all server processes."""
        return generate_latest(all_processes_registry() if MULTIPROC_DIR_VARIABLE in os.environ else self.registry)


def all_processes_registry() -> CollectorRegistry:
    """Return a registry that sums the metrics of all server processes."""
    registry = CollectorRegistry()
    MultiProcessCollector(registry)
    return registry


@contextmanager
def metrics_server(host: str, port: int, registry: CollectorRegistry) -> Iterator[None]:
    """Expose metrics on a separate port until the context exits. Port 0 exposes nothing.

    Raises:
        SystemExit: The address cannot be listened on.
    """
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
