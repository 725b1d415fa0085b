"""Metrics and log lines."""

import json
import logging
import sys

from app.batching import Call
from app.telemetry import JsonLines, Telemetry


def metric(telemetry: Telemetry, name: str, **labels: str) -> float | None:
    return telemetry.registry.get_sample_value(name, labels)


def test_an_engine_call_is_counted_with_its_windows_wait_and_duration() -> None:
    telemetry = Telemetry()
    telemetry.called(Call(windows=7, waited_s=0.5, took_s=0.25, failed=False))
    telemetry.called(Call(windows=3, waited_s=0.0, took_s=0.25, failed=True))
    assert metric(telemetry, "pricecast_call_windows_sum") == 10
    assert metric(telemetry, "pricecast_queue_seconds_sum") == 0.5
    assert metric(telemetry, "pricecast_engine_seconds_count") == 2
    assert metric(telemetry, "pricecast_calls_failed_total") == 1


def test_a_request_is_counted_by_route_method_and_status() -> None:
    telemetry = Telemetry()
    for status in (200, 200, 422):
        telemetry.answered("/predict", "POST", status, 0.001)
    assert metric(telemetry, "pricecast_requests_total", route="/predict", method="POST", status="200") == 2
    assert metric(telemetry, "pricecast_request_seconds_count", route="/predict") == 3
    assert b'pricecast_requests_total{method="POST",route="/predict",status="422"} 1.0' in telemetry.exposition()


def test_a_log_record_is_one_line_of_json_whatever_is_in_it() -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError:
        failure = sys.exc_info()
    record = logging.LogRecord("app", logging.ERROR, "", 0, "%s was\nwrong", ("it",), failure)
    line = JsonLines().format(record)
    assert "\n" not in line
    read = json.loads(line)
    assert (read["level"], read["logger"], read["message"]) == ("error", "app", "it was\nwrong")
    assert read["traceback"].endswith("ValueError: two\nlines")
    assert read["time"].endswith("+00:00")
