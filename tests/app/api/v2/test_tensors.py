"""Tensors as JSON and as bytes: what one side writes, the other reads, bit for bit."""

import json
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton  # type: ignore[import-untyped]  # it ships no type hints
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from app.api.v2.schemas import InputParameters, RequestInput
from app.api.v2.tensors import Output, json_length, raw_request, read, write
from app.artifact.transform import F64
from app.errors import InvalidContent, InvalidHeader

WINDOW = 3
LIMIT = 4
finite = st.floats(allow_nan=False, allow_infinity=False)
tensors = hnp.arrays(np.float64, st.tuples(st.integers(1, LIMIT), st.just(WINDOW)), elements=finite)
outputs = hnp.arrays(np.float64, hnp.array_shapes(min_dims=2, max_dims=3, max_side=5), elements=finite)


def sent(**fields: Any) -> RequestInput:
    """An input of two windows, whole unless told otherwise."""
    default = {"name": "prices", "shape": [2, WINDOW], "datatype": "FP64"}
    return RequestInput.model_validate(default | fields)


def field_errors(message: RequestInput, after: bytes = b"") -> dict[str, str]:
    """What is wrong, by place."""
    with pytest.raises(InvalidContent) as refused:
        read(message, after, WINDOW, LIMIT)
    return {fault.pointer: fault.detail for fault in refused.value.field_errors}


def parsed(raw: bytes, headers: dict[bytes, bytes]) -> tuple[RequestInput, bytes]:
    """The one input of a request, and what follows the JSON."""
    length = json_length(raw, headers)
    return RequestInput.model_validate(json.loads(raw[:length])["inputs"][0]), raw[length:]


@given(tensor=tensors, is_nested=st.booleans())
def test_numbers_in_json_are_read_as_they_were_sent(tensor: F64, is_nested: bool) -> None:
    data = (tensor if is_nested else tensor.ravel()).tolist()
    found = read(sent(shape=list(tensor.shape), data=data), b"", WINDOW, LIMIT)
    assert found.dtype == np.float64
    assert found.flags.c_contiguous
    assert found.tobytes() == tensor.tobytes()


@given(tensor=tensors, is_binary=st.booleans(), is_single=st.booleans())
def test_what_tritons_client_writes_is_read_as_it_was_sent(tensor: F64, is_binary: bool, is_single: bool) -> None:
    with np.errstate(over="ignore"):
        stored = tensor.astype(np.float32 if is_single else np.float64)
    stored = np.where(np.isfinite(stored), stored, 0).astype(stored.dtype)
    theirs = triton.InferInput("prices", list(stored.shape), "FP32" if is_single else "FP64")
    theirs.set_data_from_numpy(stored, binary_data=is_binary)
    raw, length = triton.InferenceServerClient.generate_request_body([theirs])
    headers = {} if length is None else {b"inference-header-content-length": str(length).encode()}
    found = read(*parsed(raw, headers), WINDOW, LIMIT)
    assert found.tobytes() == stored.astype(np.float64).tobytes()


@given(st.lists(st.tuples(outputs, st.booleans()), min_size=1, max_size=3))
def test_what_is_written_is_read_by_tritons_client(written: list[tuple[F64, bool]]) -> None:
    named = [Output(f"output{i}", tensor, is_binary) for i, (tensor, is_binary) in enumerate(written)]
    body, length = write({"model_name": "ü"}, named)
    assert (length is None) is not any(output.is_binary for output in named)
    result = triton.InferenceServerClient.parse_response_body(body, header_length=length)
    assert [output["name"] for output in result.get_response()["outputs"]] == [output.name for output in named]
    for name, tensor, _ in named:
        found = result.as_numpy(name)
        assert found.shape == tensor.shape
        assert found.tobytes() == tensor.tobytes()


def test_bytes_are_little_endian_and_row_by_row() -> None:
    tensor = np.arange(6.0).reshape(2, 3).T  # (3, 2), column by column in memory
    body, length = write({}, [Output("forecast", tensor, True)])
    assert body[length:] == np.array([0, 3, 1, 4, 2, 5], dtype="<f8").tobytes()
    assert json.loads(body[:length])["outputs"] == [
        {"name": "forecast", "shape": [3, 2], "datatype": "FP64", "parameters": {"binary_data_size": 48}}
    ]


def test_integers_and_what_fp32_cannot_hold_are_read_as_their_datatype_has_it() -> None:
    ones = [1, 2.5, 0.1, 4, 5, 6]
    assert read(sent(data=ones), b"", WINDOW, LIMIT).tolist() == [[1.0, 2.5, 0.1], [4.0, 5.0, 6.0]]
    single = read(sent(data=[*ones[:5], 1e39], datatype="FP32"), b"", WINDOW, LIMIT)
    assert single[0, 2] == np.float32(0.1)
    assert single[1, 2] == np.inf, "which no model takes"


def test_a_body_of_bytes_alone_is_a_tensor_of_as_many_windows_as_fit() -> None:
    tensor = np.arange(9.0).reshape(3, WINDOW)
    raw = tensor.tobytes()
    message = raw_request(len(raw), WINDOW)
    assert message.parameters is not None
    assert message.parameters.binary_data_output
    assert read(message.inputs[0], raw, WINDOW, LIMIT).tolist() == tensor.tolist()
    short = raw[:-1]
    assert "/inputs/0" in field_errors(raw_request(len(short), WINDOW).inputs[0], short)
    assert "/inputs/0/shape" in field_errors(raw_request(0, WINDOW).inputs[0])


@pytest.mark.parametrize(
    ("fields", "places"),
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
def test_a_tensor_that_is_not_what_it_says_is_refused_at_its_place(fields: dict[str, Any], places: set[str]) -> None:
    assert set(field_errors(sent(**fields))) == places


@pytest.mark.parametrize(
    ("size_bytes", "datatype", "follow", "says"),
    [
        (48, "FP64", 47, "48 bytes should follow the JSON, and 47 do"),
        (48, "FP64", 49, "48 bytes should follow the JSON, and 49 do"),
        (48, "FP64", 0, "48 bytes should follow the JSON, and 0 do"),
        (48, "FP32", 48, "its shape and datatype take 24 bytes, not 48"),
        (0, "FP32", 0, "its shape and datatype take 24 bytes, not 0"),
        (2**62, "FP64", 48, f"{2**62} bytes should follow the JSON, and 48 do"),
    ],
)
def test_bytes_must_be_as_many_as_announced_and_as_the_shape_takes(
    size_bytes: int, datatype: str, follow: int, says: str
) -> None:
    message = sent(parameters=InputParameters(binary_data_size=size_bytes), datatype=datatype)
    assert field_errors(message, bytes(follow)) == {"/inputs/0": says}


def test_bytes_that_no_input_announces_are_refused() -> None:
    assert field_errors(sent(data=[1] * 6), b"x") == {"/inputs/0": "0 bytes should follow the JSON, and 1 do"}


def test_only_so_many_uneven_rows_are_named() -> None:
    message = sent(shape=[500, WINDOW], data=[[1]] * 500)
    with pytest.raises(InvalidContent) as refused:
        read(message, b"", WINDOW, 1000)
    assert len(refused.value.field_errors) == 100


@pytest.mark.parametrize("header", [b"-1", b"+2", b"1.0", b"", b"0x2", b"1" * 20, b"9" * 19, b"11", "²".encode()])
def test_a_length_that_is_none_or_that_the_body_has_not_is_refused(header: bytes) -> None:
    with pytest.raises(InvalidHeader, match="Inference-Header-Content-Length: it "):
        json_length(bytes(10), {b"inference-header-content-length": header})


@pytest.mark.parametrize(("header", "length"), [(None, 10), (b"0", 0), (b"7", 7), (b"10", 10)])
def test_without_the_header_all_of_a_body_is_json(header: bytes | None, length: int) -> None:
    headers = {} if header is None else {b"inference-header-content-length": header}
    assert json_length(bytes(10), headers) == length
