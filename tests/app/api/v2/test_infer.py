"""Tests of inference requests: forecasts, encodings, warnings and deadlines."""

import gzip
import json
import zlib
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
    predict_quantiles,
    read_outputs,
)
from tests.conftest import version_of
from tests.prices import random_walk_windows
from tests.strategies import seeds


def test_infer_matches_predict(client: AppClient) -> None:
    response = client.post(INFER_PATH, json=json_request(id="a-1"))
    outputs = read_outputs(response)
    assert list(outputs) == ["forecast", "quantiles"]
    expected = predict_quantiles(client)
    np.testing.assert_allclose(outputs["quantiles"], expected, rtol=1e-6)
    np.testing.assert_array_equal(outputs["forecast"], outputs["quantiles"][:, :, expected.shape[2] // 2])
    body = response.json()
    assert (body["model_name"], body["model_version"], body["id"]) == ("default", version_of("default"), "a-1")
    assert "parameters" not in body


def test_response_has_id_only_if_the_request_has(client: AppClient) -> None:
    assert "id" not in client.post(INFER_PATH, json=json_request()).json()
    nulls: dict[str, Any] = {"id": None, "parameters": None, "outputs": None, "custom": 1}
    assert "id" not in client.post(INFER_PATH, json=json_request(**nulls)).json()


@given(seeds, st.integers(1, 40), st.integers(1, MAX_HORIZON), st.sampled_from(["<f8", "<f4"]))
def test_json_and_binary_tensors_give_the_same_forecast(
    client: AppClient, seed: int, count: int, horizon: int, datatype: str
) -> None:
    rows = random_walk_windows(count, seed).astype(datatype).astype(np.float64)
    parameters = {"horizon": horizon}
    flat = read_outputs(client.post(INFER_PATH, json=json_request(rows, parameters=parameters)))
    tensor = {"name": "prices", "shape": list(rows.shape), "datatype": "FP64", "data": rows.tolist()}
    nested = read_outputs(client.post(INFER_PATH, json={"inputs": [tensor], "parameters": parameters}))
    binary = read_outputs(
        client.post(INFER_PATH, **binary_request(rows, datatype, parameters=parameters | {"binary_data_output": True}))
    )
    assert flat["forecast"].shape == (count, horizon)
    for name in ("forecast", "quantiles"):
        np.testing.assert_allclose(nested[name], flat[name], rtol=1e-6)
        np.testing.assert_allclose(binary[name], flat[name], rtol=1e-6)


@pytest.mark.parametrize(
    ("outputs", "binary_data_output", "names", "is_binary"),
    [
        (None, False, ["forecast", "quantiles"], [False, False]),
        (None, True, ["forecast", "quantiles"], [True, True]),
        ([], False, ["forecast", "quantiles"], [False, False]),
        ([("quantiles", None)], False, ["quantiles"], [False]),
        ([("quantiles", True), ("forecast", None)], False, ["quantiles", "forecast"], [True, False]),
        ([("quantiles", False), ("forecast", None)], True, ["quantiles", "forecast"], [False, True]),
    ],
)
def test_outputs_follow_requested_order_and_encoding(
    client: AppClient,
    outputs: list[tuple[str, bool | None]] | None,
    binary_data_output: bool,
    names: list[str],
    is_binary: list[bool],
) -> None:
    fields: dict[str, Any] = {"parameters": {"binary_data_output": binary_data_output}}
    if outputs is not None:
        fields["outputs"] = [
            {"name": name} if binary_data is None else {"name": name, "parameters": {"binary_data": binary_data}}
            for name, binary_data in outputs
        ]
    response = client.post(INFER_PATH, json=json_request(**fields))
    assert list(read_outputs(response)) == names
    length = int(response.headers.get(JSON_LENGTH_HEADER, len(response.content)))
    descriptions = json.loads(response.content[:length])["outputs"]
    assert ["data" not in output for output in descriptions] == is_binary


def test_raw_binary_request_gets_binary_response(client: AppClient) -> None:
    response = client.post(INFER_PATH, content=ROWS.tobytes(), headers={JSON_LENGTH_HEADER: "0"})
    np.testing.assert_allclose(read_outputs(response)["quantiles"], predict_quantiles(client), rtol=1e-6)
    assert JSON_LENGTH_HEADER in response.headers
    assert "/inputs/0" in error_message(
        client.post(INFER_PATH, content=ROWS.tobytes()[:-8], headers={JSON_LENGTH_HEADER: "0"})
    )
    assert "the body: Invalid JSON" in error_message(
        client.post(INFER_PATH, content=b"", headers={JSON_LENGTH_HEADER: "0"})
    )


@pytest.mark.parametrize(("encoding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_json_length_counts_decompressed_bytes(client: AppClient, encoding: str, compress: Any) -> None:
    request = binary_request()
    response = client.post(
        INFER_PATH, content=compress(request["content"]), headers=request["headers"] | {"content-encoding": encoding}
    )
    np.testing.assert_allclose(read_outputs(response)["quantiles"], predict_quantiles(client), rtol=1e-6)


def test_warnings_are_counted_and_returned_as_parameter(client: AppClient) -> None:
    counter = 'pricecast_warnings_total{code="constant_window"}'
    before = client.metrics().get(counter, 0.0)
    rows = np.array([ROWS[0], [5.0] * 60])
    body = client.post(INFER_PATH, json=json_request(rows)).json()
    warnings = json.loads(body["parameters"]["warnings"])
    assert (1, "constant_window") in [(warning["row"], warning["code"]) for warning in warnings]
    assert all(warning["row"] == 1 and warning["detail"] for warning in warnings)
    assert client.metrics()[counter] == before + 1


def test_timeout_parameter_is_in_microseconds(client: AppClient) -> None:
    read_outputs(client.post(INFER_PATH, json=json_request(parameters={"timeout": 10_000_000})))
    assert client.post(INFER_PATH, json=json_request(parameters={"timeout": 1})).status_code in {503, 504}


def test_timeout_parameter_cannot_extend_the_deadline(client: AppClient) -> None:
    headers = {"x-request-timeout-ms": "1"}
    rows = np.random.default_rng(1).uniform(90, 110, (300, 60))
    body = json_request(rows, parameters={"timeout": 10_000_000})
    assert client.post(INFER_PATH, json=body, headers=headers).status_code in {503, 504}
