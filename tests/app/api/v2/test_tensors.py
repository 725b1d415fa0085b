"""Tests of tensors as JSON and as binary data."""

import json
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton  # type: ignore[import-untyped]  # it ships no type hints
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from app.api.v2.schemas import InputParameters, RequestInput
from app.api.v2.tensors import OutputTensor, binary_request, json_length, read_input, write_outputs
from app.artifact.arrays import F64
from app.errors import InvalidContent, InvalidHeader

WINDOW = 3
MAX_WINDOWS = 4

finite = st.floats(allow_nan=False, allow_infinity=False)
tensors = hnp.arrays(np.float64, st.tuples(st.integers(1, MAX_WINDOWS), st.just(WINDOW)), elements=finite)
outputs = hnp.arrays(np.float64, hnp.array_shapes(min_dims=2, max_dims=3, max_side=5), elements=finite)


def request_input(**fields: Any) -> RequestInput:
    """Build an input of two windows, without values unless given."""
    default = {"name": "prices", "shape": [2, WINDOW], "datatype": "FP64"}
    return RequestInput.model_validate(default | fields)


def field_errors(input_tensor: RequestInput, binary_data: bytes = b"") -> dict[str, str]:
    """Return the error details of an invalid input, by pointer."""
    with pytest.raises(InvalidContent) as error_info:
        read_input(input_tensor, binary_data, WINDOW, MAX_WINDOWS)
    return {error.pointer: error.detail for error in error_info.value.field_errors}


def parse_request(raw: bytes, headers: dict[bytes, bytes]) -> tuple[RequestInput, bytes]:
    """Return the input of a request, and the binary data after the JSON."""
    length = json_length(raw, headers)
    return RequestInput.model_validate(json.loads(raw[:length])["inputs"][0]), raw[length:]


@given(tensor=tensors, is_nested=st.booleans())
def test_json_numbers_are_read_exactly(tensor: F64, is_nested: bool) -> None:
    data = (tensor if is_nested else tensor.ravel()).tolist()
    prices = read_input(request_input(shape=list(tensor.shape), data=data), b"", WINDOW, MAX_WINDOWS)
    assert prices.dtype == np.float64
    assert prices.flags.c_contiguous
    assert prices.tobytes() == tensor.tobytes()


@given(tensor=tensors, is_binary=st.booleans(), is_single=st.booleans())
def test_triton_client_input_is_read_exactly(tensor: F64, is_binary: bool, is_single: bool) -> None:
    with np.errstate(over="ignore"):
        stored = tensor.astype(np.float32 if is_single else np.float64)
    stored = np.where(np.isfinite(stored), stored, 0).astype(stored.dtype)
    triton_input = triton.InferInput("prices", list(stored.shape), "FP32" if is_single else "FP64")
    triton_input.set_data_from_numpy(stored, binary_data=is_binary)
    raw, length = triton.InferenceServerClient.generate_request_body([triton_input])
    headers = {} if length is None else {b"inference-header-content-length": str(length).encode()}
    prices = read_input(*parse_request(raw, headers), WINDOW, MAX_WINDOWS)
    assert prices.tobytes() == stored.astype(np.float64).tobytes()


@given(st.lists(st.tuples(outputs, st.booleans()), min_size=1, max_size=3))
def test_triton_client_reads_outputs_exactly(tensors_and_encodings: list[tuple[F64, bool]]) -> None:
    output_tensors = [
        OutputTensor(f"output{i}", tensor, is_binary) for i, (tensor, is_binary) in enumerate(tensors_and_encodings)
    ]
    body, length = write_outputs({"model_name": "ü"}, output_tensors)
    assert (length is None) is not any(output.is_binary for output in output_tensors)
    result = triton.InferenceServerClient.parse_response_body(body, header_length=length)
    assert [output["name"] for output in result.get_response()["outputs"]] == [output.name for output in output_tensors]
    for name, values, _ in output_tensors:
        read_values = result.as_numpy(name)
        assert read_values.shape == values.shape
        assert read_values.tobytes() == values.tobytes()


def test_binary_data_is_little_endian_and_row_major() -> None:
    tensor = np.arange(6.0).reshape(2, 3).T  # (3, 2), column-major in memory
    body, length = write_outputs({}, [OutputTensor("forecast", tensor, True)])
    assert body[length:] == np.array([0, 3, 1, 4, 2, 5], dtype="<f8").tobytes()
    assert json.loads(body[:length])["outputs"] == [
        {"name": "forecast", "shape": [3, 2], "datatype": "FP64", "parameters": {"binary_data_size": 48}}
    ]


def test_json_numbers_are_converted_to_their_datatype() -> None:
    ones = [1, 2.5, 0.1, 4, 5, 6]
    assert read_input(request_input(data=ones), b"", WINDOW, MAX_WINDOWS).tolist() == [[1.0, 2.5, 0.1], [4.0, 5.0, 6.0]]
    single = read_input(request_input(data=[*ones[:5], 1e39], datatype="FP32"), b"", WINDOW, MAX_WINDOWS)
    assert single[0, 2] == np.float32(0.1)
    assert single[1, 2] == np.inf, "no model accepts infinity"


def test_raw_binary_request_has_as_many_windows_as_fit() -> None:
    tensor = np.arange(9.0).reshape(3, WINDOW)
    raw = tensor.tobytes()
    input_tensor = binary_request(len(raw), WINDOW)
    assert input_tensor.parameters is not None
    assert input_tensor.parameters.binary_data_output
    assert read_input(input_tensor.inputs[0], raw, WINDOW, MAX_WINDOWS).tolist() == tensor.tolist()
    short = raw[:-1]
    assert "/inputs/0" in field_errors(binary_request(len(short), WINDOW).inputs[0], short)
    assert "/inputs/0/shape" in field_errors(binary_request(0, WINDOW).inputs[0])


@pytest.mark.parametrize(
    ("fields", "pointers"),
    [
        ({}, {"/inputs/0"}),
        ({"data": [1] * 6, "parameters": {"binary_data_size": 48}}, {"/inputs/0"}),
        ({"data": [1] * 5}, {"/inputs/0/data"}),
        ({"data": [1] * 7}, {"/inputs/0/data"}),
        ({"data": []}, {"/inputs/0/data"}),
        ({"data": [[1, 2, 3]]}, {"/inputs/0/data"}),
        ({"data": [[1, 2, 3], [4, 5]]}, {"/inputs/0/data/1"}),
        ({"data": [[1, 2], [], [3, 4, 5]]}, {"/inputs/0/data", "/inputs/0/data/0", "/inputs/0/data/1"}),
        ({"data": [[1, 2, 3], 4]}, {"/inputs/0/data/1"}),
        ({"data": [1, 2, 3, [4, 5, 6]]}, {"/inputs/0/data/3"}),
        ({"data": [[1, 2, 3], [4, [5], 6]]}, {"/inputs/0/data/1/1"}),
        ({"data": [1, 2, 3, 4, 5, "6"]}, {"/inputs/0/data/5"}),
        ({"data": [1, 2, True, 4, 5, 6]}, {"/inputs/0/data/2"}),
        ({"data": [1, None, 3, 4, 5, 6]}, {"/inputs/0/data/1"}),
        ({"data": [1, 2, 3, 4, float("nan"), 6]}, {"/inputs/0/data/4"}),
        ({"data": [1, 2, 3, 4, float("-inf"), 6]}, {"/inputs/0/data/4"}),
        ({"data": [1, 2, 3, 4, 10**400, 6]}, {"/inputs/0/data/4"}),
        ({"data": [1] * 6, "datatype": "INT64"}, {"/inputs/0/datatype"}),
        ({"data": [1] * 6, "shape": [6]}, {"/inputs/0/shape"}),
        ({"data": [1] * 6, "shape": [1, 2, 3]}, {"/inputs/0/shape"}),
        ({"data": [1] * 6, "shape": []}, {"/inputs/0/shape"}),
        ({"data": [1] * 6, "shape": [3, 2]}, {"/inputs/0/shape"}),
        ({"data": [], "shape": [0, 3]}, {"/inputs/0/shape"}),
        ({"data": [1] * 15, "shape": [5, 3]}, {"/inputs/0/shape/0"}),
        ({"shape": [2**62, 3], "datatype": "BYTES"}, {"/inputs/0", "/inputs/0/shape/0", "/inputs/0/datatype"}),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_invalid_tensor_returns_pointers(fields: dict[str, Any], pointers: set[str]) -> None:
    assert set(field_errors(request_input(**fields))) == pointers


@pytest.mark.parametrize(
    ("size_bytes", "datatype", "sent_bytes", "detail"),
    [
        (48, "FP64", 47, "expected 48 bytes after the JSON, got 47"),
        (48, "FP64", 49, "expected 48 bytes after the JSON, got 49"),
        (48, "FP64", 0, "expected 48 bytes after the JSON, got 0"),
        (48, "FP32", 48, "shape and datatype require 24 bytes, got 48"),
        (0, "FP32", 0, "shape and datatype require 24 bytes, got 0"),
        (2**62, "FP64", 48, f"expected {2**62} bytes after the JSON, got 48"),
    ],
)
def test_wrong_number_of_bytes_is_rejected(size_bytes: int, datatype: str, sent_bytes: int, detail: str) -> None:
    input_tensor = request_input(parameters=InputParameters(binary_data_size=size_bytes), datatype=datatype)
    assert field_errors(input_tensor, bytes(sent_bytes)) == {"/inputs/0": detail}


def test_unannounced_binary_data_is_rejected() -> None:
    assert field_errors(request_input(data=[1] * 6), b"x") == {"/inputs/0": "expected 0 bytes after the JSON, got 1"}


def test_uneven_rows_are_listed_up_to_the_limit() -> None:
    input_tensor = request_input(shape=[500, WINDOW], data=[[1]] * 500)
    with pytest.raises(InvalidContent) as error_info:
        read_input(input_tensor, b"", WINDOW, 1000)
    assert len(error_info.value.field_errors) == 100


@pytest.mark.parametrize("header", [b"-1", b"+2", b"1.0", b"", b"0x2", b"1" * 20, b"9" * 19, b"11", "²".encode()])
def test_invalid_json_length_is_rejected(header: bytes) -> None:
    with pytest.raises(InvalidHeader, match="Inference-Header-Content-Length: must "):
        json_length(bytes(10), {b"inference-header-content-length": header})


@pytest.mark.parametrize(("header", "length"), [(None, 10), (b"0", 0), (b"7", 7), (b"10", 10)])
def test_json_length_defaults_to_the_whole_body(header: bytes | None, length: int) -> None:
    headers = {} if header is None else {b"inference-header-content-length": header}
    assert json_length(bytes(10), headers) == length
