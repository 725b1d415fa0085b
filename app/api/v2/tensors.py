"""Tensors of the Open Inference Protocol, as JSON numbers or as binary data after the JSON.

The input has shape (B, W): B windows of W prices. Outputs have shape (B, H) or (B, H, Q). Binary data is little-endian,
row-major and unpadded. If a body contains any, the header Inference-Header-Content-Length has the size of the JSON
before it.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Annotated, Any, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import FailFast, Field, TypeAdapter, ValidationError
from pydantic_core import to_json

from app.api.request_body import MAX_FIELD_ERRORS, field_errors_from
from app.api.v2.schemas import InferParameters, InferRequest, InputParameters, RequestInput
from app.artifact.arrays import F64
from app.errors import FieldError, InvalidContent, InvalidHeader

INPUT = "prices"
DATATYPES: dict[str, np.dtype[Any]] = {
    "FP64": np.dtype("<f8"),
    "FP32": np.dtype("<f4"),
}  # of the input; outputs are always FP64
JSON_LENGTH_HEADER = "Inference-Header-Content-Length"
INPUT_POINTER = "/inputs/0"  # a request has exactly one input

Price = Annotated[float, Field(strict=True, allow_inf_nan=False)]
FLAT_DATA: TypeAdapter[list[float]] = TypeAdapter(Annotated[list[Price], FailFast()])
NESTED_DATA: TypeAdapter[list[list[float]]] = TypeAdapter(
    Annotated[list[Annotated[list[Price], FailFast()]], FailFast()]
)


class OutputTensor(NamedTuple):
    """An output tensor and how to encode it."""

    name: str
    values: F64
    is_binary: bool


def json_length(raw: bytes, headers: Mapping[bytes, bytes]) -> int:
    """Return the size of the JSON at the start of a body, in bytes.

    Raises:
        InvalidHeader: The header is not a whole number, or exceeds the size of the body.
    """
    value = headers.get(JSON_LENGTH_HEADER.lower().encode())
    if value is None:
        return len(raw)
    if not (value.isdigit() and len(value) < 20):
        raise InvalidHeader(JSON_LENGTH_HEADER, "must be a whole number of bytes")
    if int(value) > len(raw):
        raise InvalidHeader(
            JSON_LENGTH_HEADER, f"must not exceed the size of the body ({len(raw)} bytes), got {int(value)}"
        )
    return int(value)


def binary_request(size_bytes: int, window: int) -> InferRequest:
    """Build the request that a body without JSON stands for (Triton's raw binary request).

    Such a body is an FP64 tensor of as many windows as fit, and all outputs are returned as binary data.
    """
    return InferRequest(
        parameters=InferParameters(binary_data_output=True),
        inputs=[
            RequestInput(
                name=INPUT,
                shape=[size_bytes // (8 * window), window],
                datatype="FP64",
                parameters=InputParameters(binary_data_size=size_bytes),
            )
        ],
    )


def read_input(request_input: RequestInput, binary_data: bytes, window: int, max_windows: int) -> F64:
    """Read the prices (B, W) of an input tensor.

    Args:
        request_input: The description of the tensor, and its values if they are in the JSON.
        binary_data: Everything after the JSON.
        window: Required number of prices in a window, W.
        max_windows: Maximum number of windows, B.

    Raises:
        InvalidContent: The tensor does not match its description or the model. Prices can still be invalid.
    """
    size_bytes = request_input.parameters.binary_data_size if request_input.parameters else None
    shape = request_input.shape
    field_errors = []
    if request_input.datatype not in DATATYPES:
        field_errors.append(FieldError(f"{INPUT_POINTER}/datatype", f"must be {' or '.join(DATATYPES)}"))
    if len(shape) != 2 or shape[0] < 1 or shape[1] != window:
        field_errors.append(FieldError(f"{INPUT_POINTER}/shape", f"must be [B, {window}] with B >= 1 windows"))
    elif shape[0] > max_windows:
        detail = f"got {shape[0]} windows; the maximum per request is {max_windows}"
        field_errors.append(FieldError(f"{INPUT_POINTER}/shape/0", detail))
    if (request_input.data is None) == (size_bytes is None):
        detail = "must have either data, or parameters.binary_data_size and binary data after the JSON"
        field_errors.append(FieldError(INPUT_POINTER, detail))
    elif len(binary_data) != (size_bytes or 0):
        detail = f"expected {size_bytes or 0} bytes after the JSON, got {len(binary_data)}"
        field_errors.append(FieldError(INPUT_POINTER, detail))
    if field_errors:
        raise InvalidContent(field_errors)
    datatype = DATATYPES[request_input.datatype]
    # Overflow in FP32 gives infinity, and a signaling NaN stays NaN. The model rejects both as invalid prices.
    with np.errstate(over="ignore", invalid="ignore"):
        if request_input.data is None:
            prices = _from_bytes(binary_data, datatype, shape)
        else:
            prices = np.array(_from_json(request_input.data, shape), dtype=np.float64).astype(datatype)
        return prices.astype(np.float64).reshape(shape)


def write_outputs(head: dict[str, Any], outputs: Sequence[OutputTensor]) -> tuple[bytes, int | None]:
    """Encode the body of a response.

    Args:
        head: The fields of the response other than `outputs`.
        outputs: The output tensors, in order.

    Returns:
        The body, and the size of its JSON if binary data follows.
    """
    descriptions = []
    binary_data = []
    for name, values, is_binary in outputs:
        description: dict[str, Any] = {"name": name, "shape": values.shape, "datatype": "FP64"}
        if is_binary:
            content = values.astype(DATATYPES["FP64"], copy=False).tobytes()
            binary_data.append(content)
            description["parameters"] = {"binary_data_size": len(content)}
        else:
            description["data"] = values.ravel().tolist()
        descriptions.append(description)
    json_part = to_json(head | {"outputs": descriptions})
    return b"".join([json_part, *binary_data]), len(json_part) if binary_data else None


def _from_bytes(content: bytes, datatype: np.dtype[Any], shape: Sequence[int]) -> npt.NDArray[Any]:
    expected_bytes = math.prod(shape) * datatype.itemsize
    if len(content) != expected_bytes:
        detail = f"shape and datatype require {expected_bytes} bytes, got {len(content)}"
        raise InvalidContent([FieldError(INPUT_POINTER, detail)])
    return np.frombuffer(content, datatype)


def _from_json(data: list[Any], shape: Sequence[int]) -> list[float]:
    """Flatten the B·W numbers of `data`, which is a flat or a nested list."""
    rows, columns = shape
    pointer = f"{INPUT_POINTER}/data"
    field_errors: list[FieldError] = []
    try:
        if not (data and isinstance(data[0], list)):
            numbers = FLAT_DATA.validate_python(data)
            if len(numbers) != rows * columns:
                field_errors.append(_count_error(pointer, len(numbers), rows * columns, "numbers"))
        else:
            nested = NESTED_DATA.validate_python(data)
            if len(nested) != rows:
                field_errors.append(_count_error(pointer, len(nested), rows, "rows"))
            uneven = [(i, len(row)) for i, row in enumerate(nested) if len(row) != columns][:MAX_FIELD_ERRORS]
            field_errors += [_count_error(f"{pointer}/{i}", count, columns, "numbers") for i, count in uneven]
            numbers = list(chain.from_iterable(nested))
    except ValidationError as error:
        field_errors = [FieldError(f"{pointer}{found.pointer}", found.detail) for found in field_errors_from(error)]
    if field_errors:
        raise InvalidContent(field_errors)
    return numbers


def _count_error(pointer: str, count: int, expected: int, unit: str) -> FieldError:
    return FieldError(pointer, f"the shape requires {expected} {unit}, got {count}")
