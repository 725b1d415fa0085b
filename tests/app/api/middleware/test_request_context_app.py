"""Request IDs, the request log and request metrics, in the complete application."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app import api_keys
from app.settings import Settings
from tests.app.api.app_client import AppClient, running_app, send_messages
from tests.app.artifact.artifact_files import current_path
from tests.prices import PRICES

TRACE_ID, SPAN_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
KEY, KEY_SETTING = api_keys.generate("alice")
REQUEST_ID_PATTERN = re.compile("[0-9a-f]{32}")


@pytest.fixture(scope="module")
def keyed_client(shipped: Path) -> Iterator[AppClient]:
    with running_app(Settings(models_dir=shipped, api_keys=api_keys.parse(KEY_SETTING))) as client:
        yield client


def log_line(client: AppClient, method: str, path: str, **kwargs: Any) -> dict[str, Any]:
    """Send a request and return the one line it adds to the request log."""
    [line] = client.capture_request_log(lambda: client.request(method, path, **kwargs))
    return line


# Request ID and trace ID


def test_request_id_header_is_kept_only_if_valid(client: AppClient) -> None:
    for request_id, is_kept in (("abc-123", True), ("x" * 200, False), ("no spaces", False)):
        response = client.post("/predict", json={"prices": PRICES}, headers={"x-request-id": request_id})
        assert (response.headers["x-request-id"] == request_id) is is_kept


def test_request_id_defaults_to_the_trace_id(client: AppClient) -> None:
    response = client.get("/nowhere", headers={"traceparent": f"00-{TRACE_ID}-{SPAN_ID}-00"})
    assert response.headers["x-request-id"] == response.json()["request_id"] == TRACE_ID
    first, second = client.get("/health/live"), client.get("/health/live")
    assert first.headers["x-request-id"] != second.headers["x-request-id"]
    assert REQUEST_ID_PATTERN.fullmatch(first.headers["x-request-id"])


def test_unsafe_request_id_is_ignored(client: AppClient) -> None:
    for request_id in ('"', "a b", "x" * 129, "", "a\\n", "ä"):
        line = log_line(client, "GET", "/health/live", headers=[(b"x-request-id", request_id.encode())])
        assert line["request_id"] == line["trace_id"]
    assert log_line(client, "GET", "/health/live", headers={"x-request-id": "x" * 128})["request_id"] == "x" * 128


@pytest.mark.parametrize(
    "traceparent",
    [f"00-{TRACE_ID}-{SPAN_ID}-01", f"00-{TRACE_ID}-{SPAN_ID}-00", f"cc-{TRACE_ID}-{SPAN_ID}-01-and-more"],
)
def test_valid_traceparent_sets_the_trace_id(client: AppClient, traceparent: str) -> None:
    line = log_line(client, "GET", "/health/live", headers={"traceparent": traceparent})
    assert line["trace_id"] == line["request_id"] == TRACE_ID


@pytest.mark.parametrize(
    "traceparent",
    [
        f"00-{TRACE_ID}-{SPAN_ID}-01-more", f"ff-{TRACE_ID}-{SPAN_ID}-01", f"00-{'0' * 32}-{SPAN_ID}-01",
        f"00-{TRACE_ID}-{'0' * 16}-01", f"00-{TRACE_ID.upper()}-{SPAN_ID}-01", f"00-{TRACE_ID}-{SPAN_ID}",
        TRACE_ID, "", "00-x-y-01",
    ],
)  # fmt: skip
def test_invalid_traceparent_is_ignored(client: AppClient, traceparent: str) -> None:
    line = log_line(client, "GET", "/health/live", headers={"traceparent": traceparent})
    assert line["trace_id"].lower() != TRACE_ID
    assert REQUEST_ID_PATTERN.fullmatch(line["trace_id"])
    assert line["request_id"] == line["trace_id"]


# Log


def test_log_line_has_all_request_fields(keyed_client: AppClient) -> None:
    headers = {
        "authorization": f"Bearer {KEY}", "traceparent": f"00-{TRACE_ID}-{SPAN_ID}-01", "x-request-id": "order-66",
    }  # fmt: skip
    line = log_line(keyed_client, "POST", "/predict?verbose=1", json={"prices": PRICES}, headers=headers)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", line.pop("time"))
    assert line.pop("process") > 0
    assert line.pop("took_ms") > 0
    assert line == {
        "level": "info", "logger": "app.request", "message": "POST /predict 200",
        "request_id": "order-66", "trace_id": TRACE_ID, "method": "POST", "route": "/predict", "status": 200,
        "client": "alice",
    }  # fmt: skip


def test_log_line_has_route_template_and_no_path(keyed_client: AppClient) -> None:
    line = log_line(keyed_client, "GET", "/models/default", headers={"authorization": f"Bearer {KEY}"})
    assert (line["route"], line["message"]) == ("/models/{name}", "GET /models/{name} 200")
    assert "path" not in line


def test_every_operation_is_logged_by_its_documented_path(client: AppClient) -> None:
    for path, operations in client.get("/openapi.json").json()["paths"].items():
        for method in operations:
            url = path.replace("{name}", "absent").replace("{version}", "1")
            assert log_line(client, method.upper(), url)["route"] == path


@pytest.mark.parametrize(
    ("path", "body", "status", "problem"),
    [
        ("/predict", {"prices": [1]}, 422, "invalid-content"),
        ("/predict", {"prices": PRICES, "model": "nope"}, 404, "unknown-model"),
        ("/models", {}, 405, "method-not-allowed"),
        ("/nowhere", {}, 404, "not-found"),
    ],
)
def test_log_line_has_problem(keyed_client: AppClient, path: str, body: Any, status: int, problem: str) -> None:
    line = log_line(keyed_client, "POST", path, json=body, headers={"authorization": f"Bearer {KEY}"})
    assert (line["status"], line["problem"]) == (status, problem)


def test_log_line_of_unknown_client_has_no_client(keyed_client: AppClient, client: AppClient) -> None:
    assert "client" not in log_line(keyed_client, "POST", "/predict", json={"prices": PRICES})
    assert "client" not in log_line(client, "POST", "/predict", json={"prices": PRICES})


def test_unmatched_path_is_logged_truncated(client: AppClient) -> None:
    line = log_line(client, "BREW", "/no%22where%0A" + "x" * 1000)
    assert (line["method"], line["route"], line["status"]) == ("any", "unmatched", 404)
    assert line["path"] == '/no"where\n' + "x" * 190


def test_disconnect_is_logged(client: AppClient) -> None:
    async def disconnect(_: object) -> None:
        await send_messages(client.app, [{"type": "http.disconnect"}])

    [line] = client.capture_request_log(lambda: client.run(disconnect))
    assert (line["status"], line["problem"]) == (499, "client-gone")


def test_log_level_warning_disables_the_request_log(shipped: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with running_app(Settings(models_dir=shipped, log_level="warning")) as client:
        assert client.app.lifecycle.request_log is None
        assert client.post("/predict", json={"prices": PRICES}).status_code == 200
    assert "app.request" not in capfd.readouterr().err


def test_shutdown_flushes_the_request_log(shipped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with running_app(Settings(models_dir=shipped)) as client:
        client.get("/health/live")
        client.get("/health/ready")
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["route"] for line in lines] == ["/health/live", "/health/ready"]


# Metrics


def test_metrics_count_a_mix_of_requests(models: Path) -> None:
    (current_path(models, "tutorial") / "model.onnx").write_bytes(b"nothing")
    constant_window = [5.0] * 60
    with running_app(Settings(models_dir=models, api_keys=api_keys.parse(KEY_SETTING))) as client:
        key = {"authorization": f"Bearer {KEY}"}
        for _ in range(3):
            client.post("/predict", json={"prices": PRICES}, headers=key)
        windows = [
            [1.0 * price for price in PRICES],
            PRICES,
            [2.0 * price for price in PRICES],
            constant_window,
            constant_window,
        ]
        series = [{"prices": prices} for prices in windows]
        assert client.post("/predict/batch", json={"series": series}, headers=key).status_code == 200
        client.post("/predict", json={"prices": PRICES[1:]}, headers=key)
        client.post("/predict", json={"prices": PRICES, "model": "nope"}, headers=key)
        client.post("/predict", json={"prices": PRICES, "model": "tutorial"}, headers=key)
        client.post("/predict", json={"prices": PRICES})
        client.get("/health/ready")
        client.get("/invented", headers=key)

        samples = client.metrics()
        counters = {name: value for name, value in samples.items() if "_total{" in name or name.endswith("_total")}
        assert counters == {
            'pricecast_requests_total{method="POST",route="/predict",status="200"}': 3,
            'pricecast_requests_total{method="POST",route="/predict/batch",status="200"}': 1,
            'pricecast_requests_total{method="POST",route="/predict",status="422"}': 1,
            'pricecast_requests_total{method="POST",route="/predict",status="404"}': 1,
            'pricecast_requests_total{method="POST",route="/predict",status="503"}': 1,
            'pricecast_requests_total{method="GET",route="/health/ready",status="200"}': 1,
            'pricecast_requests_total{method="any",route="unmatched",status="401"}': 1,
            'pricecast_requests_total{method="any",route="unmatched",status="404"}': 1,
            'pricecast_problems_total{reason="invalid-content"}': 1,
            'pricecast_problems_total{reason="unknown-model"}': 1,
            'pricecast_problems_total{reason="not-ready"}': 1,
            'pricecast_problems_total{reason="unauthorized"}': 1,
            'pricecast_problems_total{reason="not-found"}': 1,
            'pricecast_warnings_total{code="constant_window"}': 2,
            'pricecast_warnings_total{code="outside_training_range"}': 2,
            'pricecast_load_failures_total{name="tutorial"}': samples['pricecast_load_failures_total{name="tutorial"}'],
            "pricecast_coalesced_windows_total": 2,
            "pricecast_calls_failed_total": 0,
        }
        assert samples['pricecast_load_failures_total{name="tutorial"}'] >= 1
        assert samples["pricecast_call_windows_sum"] == 3 + 3, "identical windows are computed once"
        assert samples["pricecast_engine_seconds_count"] == samples["pricecast_call_windows_count"]
        assert samples["pricecast_queue_seconds_count"] == samples["pricecast_call_windows_count"]
        assert samples['pricecast_request_seconds_count{route="/predict"}'] == 6
        assert samples['pricecast_request_seconds_count{route="/predict/batch"}'] == 1
        response = client.get("/metrics", headers=key)
        assert 'pricecast_warnings_total{code="constant_window"} 2.0' in response.text


def test_metrics_port_removes_the_metrics_route(shipped: Path) -> None:
    with running_app(Settings(models_dir=shipped, metrics_port=1)) as client:
        assert client.get("/metrics").status_code == 404
        assert "/metrics" not in client.get("/openapi.json").json()["paths"]


def test_metrics_use_the_prometheus_format(client: AppClient) -> None:
    document = client.get("/openapi.json").json()
    response = client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert list(document["paths"]["/metrics"]["get"]["responses"]["200"]["content"]) == ["text/plain"]
    assert "# TYPE pricecast_requests_total counter" in response.text


def test_invented_paths_and_methods_add_no_metrics(client: AppClient) -> None:
    client.get("/invented-path")
    client.request("BREW", "/predict")
    text = client.get("/metrics").text
    assert "invented" not in text
    assert "BREW" not in text
    assert 'pricecast_requests_total{method="any",route="/predict",status="405"} 1.0' in text
