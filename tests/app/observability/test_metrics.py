"""Metrics: the samples that each event adds, their exposition, and their sums over several processes."""

import os
import socket
from pathlib import Path

import httpx
import pytest
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.mmap_dict import MmapedDict, mmap_key

from app.artifact.store import Artifact
from app.observability.metrics import (
    MULTIPROC_DIR_VARIABLE,
    Metrics,
    all_processes_registry,
    metrics_server,
)
from app.serving.batcher import Call
from benchmarks.processes import free_port


def sample(metrics: Metrics, name: str, /, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


# Recording


def test_record_engine_call_counts_windows_wait_and_duration() -> None:
    metrics = Metrics()
    metrics.record_engine_call(Call(windows=7, waited_s=0.5, took_s=0.25, failed=False))
    metrics.record_engine_call(Call(windows=3, waited_s=0.0, took_s=0.25, failed=True))
    assert sample(metrics, "pricecast_call_windows_sum") == 10
    assert sample(metrics, "pricecast_queue_seconds_sum") == 0.5
    assert sample(metrics, "pricecast_engine_seconds_count") == 2
    assert sample(metrics, "pricecast_calls_failed_total") == 1


def test_record_request_counts_by_route_method_and_status() -> None:
    metrics = Metrics()
    for status in (200, 200, 422):
        metrics.record_request("/predict", "POST", status, 0.001)
    assert sample(metrics, "pricecast_requests_total", route="/predict", method="POST", status="200") == 2
    assert sample(metrics, "pricecast_request_seconds_count", route="/predict") == 3
    assert b'pricecast_requests_total{method="POST",route="/predict",status="422"} 1.0' in metrics.exposition()


def test_record_request_counts_problems_by_type() -> None:
    metrics = Metrics()
    for status, problem in ((200, None), (503, "overloaded"), (503, "draining"), (503, "overloaded")):
        metrics.record_request("/predict", "POST", status, 0.001, problem)
    assert sample(metrics, "pricecast_problems_total", reason="overloaded") == 2
    assert sample(metrics, "pricecast_problems_total", reason="draining") == 1
    assert sample(metrics, "pricecast_requests_total", route="/predict", method="POST", status="503") == 3


def test_record_coalesced_windows_adds_up() -> None:
    metrics = Metrics()
    assert sample(metrics, "pricecast_coalesced_windows_total") == 0
    metrics.record_coalesced_windows(3)
    metrics.record_coalesced_windows(1)
    assert sample(metrics, "pricecast_coalesced_windows_total") == 4


def test_record_warning_counts_by_code() -> None:
    metrics = Metrics()
    for code in ("outside_training_range", "constant_window", "outside_training_range"):
        metrics.record_warning(code)
    assert sample(metrics, "pricecast_warnings_total", code="outside_training_range") == 2
    assert sample(metrics, "pricecast_warnings_total", code="constant_window") == 1


def test_record_load_failure_counts_by_model() -> None:
    metrics = Metrics()
    metrics.record_load_failure("default")
    metrics.record_load_failure("default")
    assert sample(metrics, "pricecast_load_failures_total", name="default") == 2


def test_set_model_served_shows_1_until_the_version_is_retired(default: Artifact) -> None:
    metrics = Metrics()
    labels = {"name": "default", "version": default.manifest.version, "engine": "onnx"}
    assert sample(metrics, "pricecast_model_info", **labels) is None
    metrics.set_model_served(default.manifest, "onnx", is_served=True)
    assert sample(metrics, "pricecast_model_info", **labels) == 1
    metrics.set_model_served(default.manifest, "onnx", is_served=False)
    assert sample(metrics, "pricecast_model_info", **labels) == 0


def test_metrics_are_not_shared_between_applications() -> None:
    one, other = Metrics(), Metrics()
    one.record_coalesced_windows(1)
    assert sample(other, "pricecast_coalesced_windows_total") == 0


# The separate port


def is_free(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) != 0


def test_metrics_server_exposes_metrics_until_its_context_exits() -> None:
    metrics = Metrics()
    port = free_port()
    with metrics_server("127.0.0.1", port, metrics.registry):
        metrics.record_coalesced_windows(5)
        with httpx.Client(trust_env=False) as client:
            response = client.get(f"http://127.0.0.1:{port}/metrics")
        assert response.status_code == 200
        assert "pricecast_coalesced_windows_total 5.0" in response.text
    assert is_free(port)


def test_metrics_server_releases_its_port_after_an_exception() -> None:
    port = free_port()
    with pytest.raises(LookupError), metrics_server("127.0.0.1", port, CollectorRegistry()):
        raise LookupError("the server failed")
    assert is_free(port)


def test_metrics_server_with_port_0_listens_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.observability.metrics.start_http_server", None)
    with metrics_server("127.0.0.1", 0, CollectorRegistry()):
        pass


def test_metrics_server_on_a_used_port_exits_with_one_line() -> None:
    with socket.socket() as used:
        used.bind(("127.0.0.1", 0))
        used.listen()
        port = used.getsockname()[1]
        with (
            pytest.raises(SystemExit) as caught,
            metrics_server("127.0.0.1", port, CollectorRegistry()),
        ):
            pytest.fail("the context must not be entered")
    assert caught.value.code == f"cannot listen on 127.0.0.1:{port}: Address already in use"


# Several processes


def write_coalesced_windows(directory: Path, process: int, windows: float) -> None:
    """Write the file that a server process with this count leaves in the shared directory."""
    values = MmapedDict(str(directory / f"counter_{process}.db"))
    key = mmap_key("pricecast_coalesced_windows", "pricecast_coalesced_windows_total", [], [], "Windows.")
    values.write_value(key, windows, 0.0)
    values.close()


def test_exposition_sums_all_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MULTIPROC_DIR_VARIABLE, str(tmp_path))
    write_coalesced_windows(tmp_path, 17, 3.0)
    write_coalesced_windows(tmp_path, 18, 4.0)
    assert all_processes_registry().get_sample_value("pricecast_coalesced_windows_total") == 7
    metrics = Metrics()
    metrics.record_warning("of this process alone, and in no file")
    exposition = metrics.exposition()
    assert b"pricecast_coalesced_windows_total 7.0" in exposition
    assert b"of this process alone" not in exposition


def test_exposition_of_one_process_has_its_own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(MULTIPROC_DIR_VARIABLE, raising=False)
    assert MULTIPROC_DIR_VARIABLE not in os.environ
    metrics = Metrics()
    Counter("elsewhere", "In another registry.", registry=CollectorRegistry()).inc()
    metrics.record_coalesced_windows(2)
    assert b"pricecast_coalesced_windows_total 2.0" in metrics.exposition()
    assert b"elsewhere" not in metrics.exposition()
