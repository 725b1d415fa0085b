"""What a request leaves behind: a line in the log, and its share in the metrics."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app import api_keys
from app.settings import Settings
from tests.app.api.conftest import Client, exchange, start
from tests.app.artifact.artifact_files import current_path

PRICES = [100.0 + i % 7 for i in range(60)]
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
KEY, SETTING = api_keys.new("alice")
HEX = re.compile("[0-9a-f]{32}")


@pytest.fixture(scope="module")
def keyed(shipped: Path) -> Iterator[Client]:
    yield from start(Settings(models_dir=shipped, api_keys=api_keys.parse(SETTING)))


def the_line(client: Client, method: str, path: str, **how: Any) -> dict[str, Any]:
    """The one line that a request leaves in the log."""
    [line] = client.logged(lambda: client.request(method, path, **how))
    return line


# The log


def test_a_request_leaves_one_line_with_all_that_is_known_of_it(keyed: Client) -> None:
    headers = {
        "authorization": f"Bearer {KEY}", "traceparent": f"00-{TRACE}-{SPAN}-01", "x-request-id": "order-66",
    }  # fmt: skip
    line = the_line(keyed, "POST", "/predict?verbose=1", json={"prices": PRICES}, headers=headers)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", line.pop("time"))
    assert line.pop("process") > 0
    assert line.pop("took_ms") > 0
    assert line == {
        "level": "info", "logger": "app.request", "message": "POST /predict 200",
        "request_id": "order-66", "trace_id": TRACE, "method": "POST", "route": "/predict", "status": 200,
        "client": "alice",
    }  # fmt: skip


def test_a_line_names_the_route_and_not_what_stood_in_its_place(keyed: Client) -> None:
    line = the_line(keyed, "GET", "/models/default", headers={"authorization": f"Bearer {KEY}"})
    assert (line["route"], line["message"]) == ("/models/{name}", "GET /models/{name} 200")
    assert "path" not in line


def test_every_operation_is_logged_under_the_path_that_is_documented(client: Client) -> None:
    for path, operations in client.get("/openapi.json").json()["paths"].items():
        for method in operations:
            there = path.replace("{name}", "absent").replace("{version}", "1")
            assert the_line(client, method.upper(), there)["route"] == path


@pytest.mark.parametrize(
    ("path", "body", "status", "problem"),
    [
        ("/predict", {"prices": [1]}, 422, "invalid-content"),
        ("/predict", {"prices": PRICES, "model": "nope"}, 404, "unknown-model"),
        ("/models", {}, 405, "method-not-allowed"),
        ("/nowhere", {}, 404, "not-found"),
    ],
)
def test_a_line_names_the_problem(keyed: Client, path: str, body: Any, status: int, problem: str) -> None:
    line = the_line(keyed, "POST", path, json=body, headers={"authorization": f"Bearer {KEY}"})
    assert (line["status"], line["problem"]) == (status, problem)


def test_a_line_names_no_client_where_none_is_known(keyed: Client, client: Client) -> None:
    assert "client" not in the_line(keyed, "POST", "/predict", json={"prices": PRICES})
    assert "client" not in the_line(client, "POST", "/predict", json={"prices": PRICES})


def test_of_a_path_that_nothing_has_as_much_is_logged_as_tells_what_it_was(client: Client) -> None:
    line = the_line(client, "BREW", "/no%22where%0A" + "x" * 1000)
    assert (line["method"], line["route"], line["status"]) == ("any", "unmatched", 404)
    assert line["path"] == '/no"where\n' + "x" * 190


@pytest.mark.parametrize("sent", [f"00-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-00", f"cc-{TRACE}-{SPAN}-01-and-more"])
def test_a_trace_is_that_of_a_caller_who_states_one(client: Client, sent: str) -> None:
    line = the_line(client, "GET", "/health/live", headers={"traceparent": sent})
    assert line["trace_id"] == line["request_id"] == TRACE


@pytest.mark.parametrize(
    "sent",
    [
        f"00-{TRACE}-{SPAN}-01-more", f"ff-{TRACE}-{SPAN}-01", f"00-{'0' * 32}-{SPAN}-01", f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01", f"00-{TRACE}-{SPAN}", TRACE, "", "00-x-y-01",
    ],
)  # fmt: skip
def test_a_trace_that_is_none_is_not_taken_for_one(client: Client, sent: str) -> None:
    line = the_line(client, "GET", "/health/live", headers={"traceparent": sent})
    assert line["trace_id"].lower() != TRACE
    assert HEX.fullmatch(line["trace_id"])
    assert line["request_id"] == line["trace_id"]


def test_without_an_id_of_its_own_a_request_has_that_of_its_trace(client: Client) -> None:
    response = client.get("/nowhere", headers={"traceparent": f"00-{TRACE}-{SPAN}-00"})
    assert response.headers["x-request-id"] == response.json()["request_id"] == TRACE
    first, second = client.get("/health/live"), client.get("/health/live")
    assert first.headers["x-request-id"] != second.headers["x-request-id"]
    assert HEX.fullmatch(first.headers["x-request-id"])


def test_an_id_that_could_break_a_line_is_not_taken_for_one(client: Client) -> None:
    for sent in ('"', "a b", "x" * 129, "", "a\\n", "ä"):
        line = the_line(client, "GET", "/health/live", headers=[(b"x-request-id", sent.encode())])
        assert line["request_id"] == line["trace_id"]
    assert the_line(client, "GET", "/health/live", headers={"x-request-id": "x" * 128})["request_id"] == "x" * 128


def test_a_client_that_has_gone_leaves_a_line_too(client: Client) -> None:
    async def leave(_: object) -> None:
        await exchange(client.app, [{"type": "http.disconnect"}])

    [line] = client.logged(lambda: client.run(leave))
    assert (line["status"], line["problem"]) == (499, "client-gone")


def test_where_requests_are_no_news_none_is_logged(shipped: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for client in start(Settings(models_dir=shipped, log_level="warning")):
        assert client.app.lifecycle.request_log is None
        assert client.post("/predict", json={"prices": PRICES}).status_code == 200
    assert "app.request" not in capfd.readouterr().err


def test_the_lines_of_the_last_requests_are_written_before_the_end(
    shipped: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for client in start(Settings(models_dir=shipped)):
        client.get("/health/live")
        client.get("/health/ready")
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["route"] for line in lines] == ["/health/live", "/health/ready"]


# Metrics


def test_after_a_known_load_the_metrics_are_that_load(models: Path) -> None:
    (current_path(models, "tutorial") / "model.onnx").write_bytes(b"nothing")
    constant = [5.0] * 60
    for client in start(Settings(models_dir=models, api_keys=api_keys.parse(SETTING))):
        key = {"authorization": f"Bearer {KEY}"}
        for _ in range(3):
            client.post("/predict", json={"prices": PRICES}, headers=key)
        alike = [[1.0 * price for price in PRICES], PRICES, [2.0 * price for price in PRICES], constant, constant]
        series = [{"prices": prices} for prices in alike]
        assert client.post("/predict/batch", json={"series": series}, headers=key).status_code == 200
        client.post("/predict", json={"prices": PRICES[1:]}, headers=key)
        client.post("/predict", json={"prices": PRICES, "model": "nope"}, headers=key)
        client.post("/predict", json={"prices": PRICES, "model": "tutorial"}, headers=key)
        client.post("/predict", json={"prices": PRICES})
        client.get("/health/ready")
        client.get("/invented", headers=key)

        samples = client.metrics()
        counted = {name: value for name, value in samples.items() if "_total{" in name or name.endswith("_total")}
        assert counted == {
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
        assert samples["pricecast_call_windows_sum"] == 3 + 3, "what is alike is computed once"
        assert samples["pricecast_engine_seconds_count"] == samples["pricecast_call_windows_count"]
        assert samples["pricecast_queue_seconds_count"] == samples["pricecast_call_windows_count"]
        assert samples['pricecast_request_seconds_count{route="/predict"}'] == 6
        assert samples['pricecast_request_seconds_count{route="/predict/batch"}'] == 1
        shown = client.get("/metrics", headers=key)
        assert 'pricecast_warnings_total{code="constant_window"} 2.0' in shown.text


def test_with_a_port_of_their_own_metrics_are_not_beside_the_rest(shipped: Path) -> None:
    for client in start(Settings(models_dir=shipped, metrics_port=1)):
        assert client.get("/metrics").status_code == 404
        assert "/metrics" not in client.get("/openapi.json").json()["paths"]
