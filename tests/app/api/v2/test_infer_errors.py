"""Tests of invalid inference requests: every error is reported with its location."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.app.api.app_client import MAX_HORIZON, AppClient
from tests.app.api.v2.infer_requests import (
    INFER_PATH,
    JSON_LENGTH_HEADER,
    ROWS,
    binary_request,
    error_message,
    json_request,
)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"parameters": {"horizon": MAX_HORIZON + 1}}, "/parameters/horizon: must be between 1 and "),
        ({"parameters": {"horizon": 0}}, "/parameters/horizon: "),
        ({"parameters": {"horizon": "2"}}, "/parameters/horizon: "),
        ({"parameters": {"horizon": True}}, "/parameters/horizon: "),
        ({"parameters": {"horizon": 10**40}}, "/parameters/horizon: "),
        ({"parameters": {"timeout": -1}}, "/parameters/timeout: "),
        ({"parameters": {"binary_data_output": "yes"}}, "/parameters/binary_data_output: "),
        ({"parameters": []}, "/parameters: "),
        ({"id": 7}, "/id: "),
        ({"inputs": []}, "/inputs: "),
        ({"inputs": None}, "/inputs: "),
        ({"inputs": [1]}, "/inputs/0: "),
        ({"outputs": [{"name": "median"}]}, "/outputs/0/name: unknown output; this model has forecast and quan"),
        ({"outputs": [{"name": "forecast"}] * 2}, "/outputs/1/name: duplicate output"),
        ({"outputs": [{}]}, "/outputs/0/name: "),
        ({"outputs": [{"name": "forecast", "parameters": {"binary_data": 1}}]}, "/outputs/0/parameters/binary_data: "),
        (
            {"outputs": [{"name": "forecast", "parameters": {"classification": 3}}]},
            "/outputs/0/parameters/classification: not supported by this server",
        ),
        (
            {"outputs": [{"name": "forecast", "parameters": {"shared_memory_region": "x"}}]},
            "/outputs/0/parameters/shared_memory_region: not supported by this server",
        ),
        ({"outputs": [{"name": f"n{i}"} for i in range(500)]}, "/outputs/99/name: "),
    ],
    ids=lambda value: repr(value)[:60],
)
def test_invalid_request_returns_pointer(client: AppClient, fields: dict[str, Any], message: str) -> None:
    error = error_message(client.post(INFER_PATH, json=json_request(**fields)))
    assert message in error
    assert "/outputs/100/" not in error


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "price"}, "/inputs/0/name: unknown input; this model has prices"),
        ({"name": None}, "/inputs/0/name: "),
        ({"datatype": "FP16"}, "/inputs/0/datatype: must be FP64 or FP32"),
        ({"shape": [3, 61]}, "/inputs/0/shape: must be [B, 60]"),
        ({"shape": [-3, 60]}, "/inputs/0/shape/0: "),
        ({"shape": [3.0, 60]}, "/inputs/0/shape/0: "),
        ({"shape": [2**63, 60]}, "/inputs/0/shape/0: "),
        ({"shape": [2, 60]}, "/inputs/0/data: the shape requires 120 numbers, got 180"),
        ({"shape": [301, 60]}, "/inputs/0/shape/0: got 301 windows; the maximum per request is 300"),
        ({"data": None}, "/inputs/0: must have either data, or parameters.binary_data_size"),
        ({"data": "1, 2"}, "/inputs/0/data: "),
        ({"data": [*ROWS.ravel()[:179].tolist(), "5"]}, "/inputs/0/data/179: "),
        ({"data": [*ROWS.ravel()[:179].tolist(), float("nan")]}, "/inputs/0/data/179: "),
        ({"data": [*ROWS.ravel()[:179].tolist(), float("inf")]}, "/inputs/0/data/179: "),
        ({"data": [*ROWS.ravel()[:179].tolist(), 0]}, "/inputs/0: row 2, column 59: a price must be positive"),
        ({"parameters": {"binary_data_size": 1440}}, "/inputs/0: must have either"),
        ({"parameters": {"binary_data_size": -1}}, "/inputs/0/parameters/binary_data_size: "),
        ({"parameters": {"binary_data_size": 1440}, "data": None}, "/inputs/0: expected 1440 bytes after the JSON"),
    ],
    ids=lambda value: repr(value)[:60],
)
def test_invalid_input_returns_pointer(client: AppClient, change: dict[str, Any], message: str) -> None:
    body = json_request()
    body["inputs"][0] |= change
    assert message in error_message(client.post(INFER_PATH, content=json.dumps(body)))


def test_duplicate_or_unknown_input_returns_pointer(client: AppClient) -> None:
    [tensor] = json_request()["inputs"]
    error = error_message(client.post(INFER_PATH, json={"inputs": [tensor, tensor, tensor | {"name": "volume"}]}))
    assert "/inputs/1/name: duplicate input" in error
    assert "/inputs/2/name: unknown input" in error


@pytest.mark.parametrize("datatype", ["<f8", "<f4"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 0.0, -1.0])
@pytest.mark.parametrize("model", ["default", "tutorial"])
def test_invalid_binary_prices_are_located(client: AppClient, datatype: str, bad: float, model: str) -> None:
    rows = ROWS.copy()
    rows[1, 17] = rows[2, 3] = bad
    response = client.post(f"/v2/models/{model}/infer", **binary_request(rows, datatype))
    if model == "tutorial" and np.isfinite(bad):
        assert response.status_code == 200
    else:
        error = error_message(response)
        assert "/inputs/0: row 1, column 17: a price must" in error
        assert "/inputs/0: row 2, column 3: a price must" in error


@pytest.mark.parametrize(("datatype", "signaling"), [("<f8", "010000000000f07f"), ("<f4", "0100807f")])
def test_signaling_nan_is_rejected(client: AppClient, datatype: str, signaling: str) -> None:
    request = binary_request(ROWS, datatype)
    nan = bytes.fromhex(signaling)
    content = request["content"][: -len(nan)] + nan
    error = error_message(client.post(INFER_PATH, content=content, headers=request["headers"]))
    assert "/inputs/0: row 2, column 59: a price must" in error


def test_invalid_rows_are_listed_in_order_up_to_the_limit(client: AppClient) -> None:
    rows = np.tile(ROWS[0], (300, 1))
    rows[::2, 5] = 0.0
    rows[1::2, 5] = 1e20  # the step is too large, which is checked after the zeros
    errors = error_message(client.post(INFER_PATH, **binary_request(rows))).split("; ")
    assert [error.split(":")[1].split(",")[0] for error in errors] == [f" row {row}" for row in range(100)]


def test_error_does_not_echo_the_input(client: AppClient) -> None:
    secret = "s3cret" * 50
    body = json_request(id=secret, outputs=[{"name": secret, secret: secret}])
    body["inputs"][0] |= {"name": secret, "datatype": secret, "data": [secret]}
    assert "s3cret" not in error_message(client.post(INFER_PATH, json=body))


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("x", "must be a whole number of bytes"),
        ("99999", "must not exceed the size of the body"),
        ("5", "Invalid JSON"),
    ],
)
def test_invalid_json_length_header_returns_400(client: AppClient, header: str, message: str) -> None:
    assert message in error_message(client.post(INFER_PATH, json=json_request(), headers={JSON_LENGTH_HEADER: header}))


def test_infer_shares_body_and_timeout_checks(client: AppClient) -> None:
    assert error_message(client.post(INFER_PATH, content=b" " * (2**20 + 1)), 413)
    assert error_message(client.post(INFER_PATH, json=json_request(), headers={"content-encoding": "br"}), 415)
    assert "X-Request-Timeout-Ms" in error_message(
        client.post(INFER_PATH, json=json_request(), headers={"x-request-timeout-ms": "no"})
    )


# Fuzzing


# Arbitrary JSON that contains words of the protocol, as clients may send by mistake or on purpose.
protocol_words = st.sampled_from(
    ["id", "inputs", "outputs", "parameters", "name", "shape", "datatype", "data", "prices", "forecast", "FP64",
     "horizon", "binary_data", "binary_data_size", "binary_data_output", "timeout"]
)  # fmt: skip
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | protocol_words
json_values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(protocol_words, inner, max_size=4),
    max_leaves=12,
)
requests = st.fixed_dictionaries(
    {
        "inputs": st.lists(
            st.fixed_dictionaries(
                {
                    "name": st.just("prices") | json_values,
                    "shape": st.just([1, 60]) | st.lists(st.integers(-1, 70), max_size=3) | json_values,
                    "datatype": st.sampled_from(["FP64", "FP32", "BYTES"]) | json_values,
                },
                optional={
                    "data": st.lists(scalars, min_size=60, max_size=60) | json_values,
                    "parameters": st.fixed_dictionaries({"binary_data_size": st.sampled_from([480, 240, 0, -1])})
                    | json_values,
                },
            ),
            max_size=2,
        )
    },
    optional={"parameters": json_values, "outputs": json_values, "id": json_values},
)
json_lengths = st.none() | st.integers(-10, 2000) | st.sampled_from(["right", "x", "1e3", "9" * 30])


@given(
    body=st.one_of(requests, json_values).map(lambda value: json.dumps(value).encode()) | st.binary(max_size=100),
    binary_data=st.binary(max_size=20) | st.binary(min_size=240, max_size=240) | st.binary(min_size=480, max_size=480),
    length=json_lengths,
    path=st.sampled_from(
        [INFER_PATH, "/v2/models/tutorial/infer", "/v2/repository/index", "/v2/repository/models/nope/load",
         "/v2/repository/models/nope/unload"]
    ),
)  # fmt: skip
def test_fuzzed_requests_never_cause_server_errors(
    client: AppClient, body: bytes, binary_data: bytes, length: Any, path: str
) -> None:
    length = str(len(body)) if length == "right" else length
    headers = {} if length is None else {JSON_LENGTH_HEADER: str(length)}
    response = client.post(path, content=body + binary_data, headers=headers)
    assert response.status_code < 500, response.text
    if response.status_code != 200:
        error_message(response, response.status_code)
