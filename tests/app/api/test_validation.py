"""Tests of forecast request validation: every error is reported with its location."""

import json
from typing import Any

import pytest

from tests.app.api.app_client import EXAMPLE_WINDOW, JSON_HEADERS, MAX_HORIZON, AppClient


def field_errors(client: AppClient, path: str, body: Any) -> list[dict[str, str]]:
    """Return the errors of an invalid body. Check the form of the response, and that the server still works."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    response = client.post(path, content=content, headers=JSON_HEADERS)
    problem = response.json()
    assert response.status_code == 422, problem
    assert response.headers["content-type"] == "application/problem+json"
    assert problem["status"] == 422
    assert problem["type"] == "urn:pricecast:invalid-content"
    assert problem["request_id"] == response.headers["x-request-id"]
    assert client.post("/predict", json={"prices": EXAMPLE_WINDOW}).status_code == 200
    return list(problem["errors"])


def pointers(errors: list[dict[str, str]]) -> list[str]:
    return [error["pointer"] for error in errors]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"prices": EXAMPLE_WINDOW[1:]}, "/prices"),
        ({"prices": [1.0] * 4097}, "/prices"),
        ({"prices": []}, "/prices"),
        ({"prices": 5}, "/prices"),
        ({"prices": [*EXAMPLE_WINDOW[:17], "101.5", *EXAMPLE_WINDOW[18:]]}, "/prices/17"),
        ({"prices": [*EXAMPLE_WINDOW[:17], None, *EXAMPLE_WINDOW[18:]]}, "/prices/17"),
        ({"prices": [*EXAMPLE_WINDOW[:17], True, *EXAMPLE_WINDOW[18:]]}, "/prices/17"),
        ({"prices": [*EXAMPLE_WINDOW[:17], [1], *EXAMPLE_WINDOW[18:]]}, "/prices/17"),
        ({"prices": [*EXAMPLE_WINDOW[:17], float("nan"), *EXAMPLE_WINDOW[18:]]}, "/prices/17"),
        ({"prices": [*EXAMPLE_WINDOW[:17], float("inf"), *EXAMPLE_WINDOW[18:]]}, "/prices/17"),
        ({"prices": [*EXAMPLE_WINDOW[:17], float("-inf"), *EXAMPLE_WINDOW[18:]]}, "/prices/17"),
        ({"prices": [*EXAMPLE_WINDOW[:17], 0, *EXAMPLE_WINDOW[18:]]}, "/prices/17"),
        ({"prices": [*EXAMPLE_WINDOW[:17], -3.5, *EXAMPLE_WINDOW[18:]]}, "/prices/17"),
        ({"prices": [*EXAMPLE_WINDOW[:17], 1e-9, *EXAMPLE_WINDOW[18:]]}, "/prices/17"),
        ({"prices": [9.0, 9.0, *EXAMPLE_WINDOW[:17], 0, *EXAMPLE_WINDOW[18:]]}, "/prices/19"),
        ({"prices": EXAMPLE_WINDOW, "color": "red"}, "/color"),
        ({"prices": EXAMPLE_WINDOW, "horizon": 0}, "/horizon"),
        ({"prices": EXAMPLE_WINDOW, "horizon": MAX_HORIZON + 1}, "/horizon"),
        ({"prices": EXAMPLE_WINDOW, "horizon": 1.5}, "/horizon"),
        ({"prices": EXAMPLE_WINDOW, "horizon": "2"}, "/horizon"),
        ({"prices": EXAMPLE_WINDOW, "horizon": True}, "/horizon"),
        ({"prices": EXAMPLE_WINDOW, "horizon": 10**40}, "/horizon"),
        ({"prices": EXAMPLE_WINDOW, "levels": [80, 73]}, "/levels/1"),
        ({"prices": EXAMPLE_WINDOW, "levels": [80, 80]}, "/levels/1"),
        ({"prices": EXAMPLE_WINDOW, "levels": [100]}, "/levels/0"),
        ({"prices": EXAMPLE_WINDOW, "levels": 80}, "/levels"),
        ({"prices": EXAMPLE_WINDOW, "model": "tutorial", "levels": [80]}, "/levels/0"),
        ({"prices": EXAMPLE_WINDOW, "model": "../default"}, "/model"),
        ({"prices": EXAMPLE_WINDOW, "model": 7}, "/model"),
        ({}, "/prices"),
        ([], ""),
        (None, ""),
        (b"", ""),
        (b'{"prices": [1, 2', ""),
        (b'{"prices": [1e400]}', "/prices/0"),
        (b"[" * 100_000 + b"]" * 100_000, ""),
        (b'{"prices": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", ""),
        (b'{"prices": "\xff\xfe"}', ""),
        (json.dumps({"prices": EXAMPLE_WINDOW}).encode("utf-16"), ""),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_predict_invalid_body_returns_pointer(client: AppClient, body: Any, pointer: str) -> None:
    [error] = field_errors(client, "/predict", body)
    assert error["pointer"] == pointer
    assert error["detail"]


def test_predict_lists_query_and_price_errors_together(client: AppClient) -> None:
    errors = field_errors(
        client, "/predict", {"prices": EXAMPLE_WINDOW[1:], "horizon": MAX_HORIZON + 1, "levels": [73, 12]}
    )
    assert pointers(errors) == ["/horizon", "/levels/0", "/levels/1", "/prices"]


def test_predict_error_does_not_echo_the_input(client: AppClient) -> None:
    response = client.post("/predict", json={"prices": [*EXAMPLE_WINDOW[1:], "secret-4711"]})
    assert "secret-4711" not in response.text


def test_long_unknown_field_is_truncated_in_pointer(client: AppClient) -> None:
    [error] = field_errors(client, "/predict", {"prices": EXAMPLE_WINDOW, "x" * 5000: 1})
    assert len(error["pointer"]) == 200


def test_many_unknown_fields_list_at_most_100_errors(client: AppClient) -> None:
    assert len(field_errors(client, "/predict", {"prices": EXAMPLE_WINDOW} | {f"x{i}": i for i in range(5000)})) == 100


@pytest.mark.parametrize("path", ["/predict", "/predict/batch"])
@pytest.mark.parametrize("reference", ["nope", "default@77"])
def test_predict_unknown_model_returns_404(client: AppClient, path: str, reference: str) -> None:
    body = {"prices": EXAMPLE_WINDOW} if path == "/predict" else {"series": [{"prices": EXAMPLE_WINDOW}]}
    response = client.post(path, json=body | {"model": reference})
    assert (response.status_code, response.json()["type"]) == (404, "urn:pricecast:unknown-model")


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"series": []}, "/series"),
        ({}, "/series"),
        ({"series": 3}, "/series"),
        ([], ""),
        ({"series": [{"prices": EXAMPLE_WINDOW}] * 301}, "/series"),
        ({"series": [{"prices": [None]}] * 301}, "/series"),
        ({"series": [{"prices": EXAMPLE_WINDOW}, 3]}, "/series/1"),
        ({"series": [{"prices": EXAMPLE_WINDOW, "id": ""}]}, "/series/0/id"),
        ({"series": [{"prices": EXAMPLE_WINDOW, "id": 5}]}, "/series/0/id"),
        ({"series": [{"prices": EXAMPLE_WINDOW, "ids": "a"}]}, "/series/0/ids"),
        ({"series": [{"prices": EXAMPLE_WINDOW}], "horizon": MAX_HORIZON + 1}, "/horizon"),
        ({"series": [{"prices": EXAMPLE_WINDOW}], "model": 6}, "/model"),
        (b'{"series": [', ""),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_batch_invalid_body_returns_pointer(client: AppClient, body: Any, pointer: str) -> None:
    [error] = field_errors(client, "/predict/batch", body)
    assert error["pointer"] == pointer


def test_batch_duplicate_ids_are_listed(client: AppClient) -> None:
    series = [{"id": name, "prices": EXAMPLE_WINDOW} for name in ("a", "b", "a", "a")]
    errors = field_errors(client, "/predict/batch", {"series": series})
    assert pointers(errors) == ["/series/2/id", "/series/3/id"]
    assert [error["id"] for error in errors] == ["a", "a"]


def test_batch_one_invalid_series_rejects_the_request(client: AppClient) -> None:
    series: list[dict[str, Any]] = [{"id": f"s{i}", "prices": EXAMPLE_WINDOW} for i in range(100)]
    series[41]["prices"] = [*EXAMPLE_WINDOW[:-1], 0.0]
    [error] = field_errors(client, "/predict/batch", {"series": series})
    assert (error["pointer"], error["id"]) == ("/series/41/prices/59", "s41")


def test_batch_lists_every_invalid_series(client: AppClient) -> None:
    series: list[Any] = [{"id": f"s{i}", "prices": EXAMPLE_WINDOW} for i in range(100)]
    series[3]["prices"] = [*EXAMPLE_WINDOW[:-1], None]
    series[10] = {"id": "s10"}
    series[20]["prices"] = EXAMPLE_WINDOW[:7]
    series[30] = "not a series"
    series[41]["prices"] = [*EXAMPLE_WINDOW[:-1], -1.0]
    series[99]["id"] = "s98"
    errors = field_errors(client, "/predict/batch", {"series": series, "color": 1})
    assert pointers(errors) == [
        "/color", "/series/3/prices/59", "/series/10/prices", "/series/20/prices", "/series/30",
        "/series/41/prices/59", "/series/99/id",
    ]  # fmt: skip
    assert [error.get("id") for error in errors] == [None, "s3", "s10", "s20", None, "s41", "s98"]


def test_batch_unknown_model_still_lists_schema_errors(client: AppClient) -> None:
    errors = field_errors(
        client, "/predict/batch", {"series": [{"prices": [None]}, {"prices": EXAMPLE_WINDOW}], "model": "nope"}
    )
    assert pointers(errors) == ["/series/0/prices/0"]
