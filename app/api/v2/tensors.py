"""Tensors of the Open Inference Protocol: numbers within the JSON, or bytes after it.

Shapes: B windows of W prices in; per output (B, H) or (B, H, Q) out. Bytes are little-endian, row-major and unpadded;
where there are any, the header Inference-Header-Content-Length says how long the JSON before them is.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Annotated, Any, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import FailFast, Field, TypeAdapter, ValidationError
from pydantic_core import to_json

from app.api.request_body import MAX_FIELD_ERRORS, field_errors_of
from app.api.v2.schemas import InferParameters, InferRequest, InputParameters, RequestInput
from app.artifact.transform import F64
from app.errors import FieldError, InvalidContent, InvalidHeader

INPUT = "prices"
DATATYPES: dict[str, np.dtype[Any]] = {
    "FP64": np.dtype("<f8"),
    "FP32": np.dtype("<f4"),
}  # of an input; outputs are FP64
HEADER_LENGTH = "Inference-Header-Content-Length"
HERE = "/inputs/0"  # there is one input

Price = Annotated[float, Field(strict=True, allow_inf_nan=False)]
FLAT: TypeAdapter[list[float]] = TypeAdapter(Annotated[list[Price], FailFast()])
ROWS: TypeAdapter[list[list[float]]] = TypeAdapter(
    Annotated[list[Annotated[list[Price], FailFast()]], FailFast()]  # the first number that is none will do
)


class Output(NamedTuple):
    """One output to be written."""

    name: str
    tensor: F64
    is_binary: bool


def json_length(raw: bytes, headers: Mapping[bytes, bytes]) -> int:
    """How much of a body is JSON.

    Raises:
        InvalidHeader: the header does not say a length, or one that the body does not have.
    """
    sent = headers.get(HEADER_LENGTH.lower().encode())
    if sent is None:
        return len(raw)
    if not (sent.isdigit() and len(sent) < 20):
        raise InvalidHeader(HEADER_LENGTH, "it must be a whole number of bytes")
    if int(sent) > len(raw):
        raise InvalidHeader(HEADER_LENGTH, f"it says {int(sent)} bytes; the body has {len(raw)}")
    return int(sent)


def raw_request(size_bytes: int, window: int) -> InferRequest:
    """What a body says that has no JSON at all (Triton's raw binary request): FP64 in, and all as bytes out."""
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


def read(sent: RequestInput, after: bytes, window: int, limit: int) -> F64:
    """The prices (B, W) of an input.

    Args:
        after: all that follows the JSON.
        window: W.
        limit: the most that B may be.

    Raises:
        InvalidContent: the tensor is not what it says it is, or not what the model takes. Any price will do here.
    """
    size_bytes = sent.parameters.binary_data_size if sent.parameters else None
    field_errors = []
    if sent.datatype not in DATATYPES:
        field_errors.append(FieldError(f"{HERE}/datatype", f"it must be {' or '.join(DATATYPES)}"))
    if len(sent.shape) != 2 or sent.shape[0] < 1 or sent.shape[1] != window:
        field_errors.append(FieldError(f"{HERE}/shape", f"it must be [B, {window}], for B windows, 1 or more"))
    elif sent.shape[0] > limit:
        field_errors.append(FieldError(f"{HERE}/shape/0", f"{sent.shape[0]} windows; one request may have {limit}"))
    if (sent.data is None) == (size_bytes is None):
        field_errors.append(
            FieldError(HERE, "it needs either data, or parameters.binary_data_size and bytes after the JSON")
        )
    elif len(after) != (size_bytes or 0):
        field_errors.append(FieldError(HERE, f"{size_bytes or 0} bytes should follow the JSON, and {len(after)} do"))
    if field_errors:
        raise InvalidContent(field_errors)
    stored = DATATYPES[sent.datatype]
    with np.errstate(over="ignore", invalid="ignore"):  # too large for FP32, a signalling NaN: whoever reads on refuses
        if sent.data is None:
            prices = _in_bytes(after, stored, sent.shape)
        else:
            prices = np.array(_in_json(sent.data, sent.shape), dtype=np.float64).astype(stored)
        return prices.astype(np.float64).reshape(sent.shape)


def write(head: dict[str, Any], outputs: Sequence[Output]) -> tuple[bytes, int | None]:
    """A response's body, and where bytes follow its JSON, how long that is.

    Args:
        head: what the JSON has before its `outputs`.
    """
    described = []
    after = []
    for name, tensor, is_binary in outputs:
        output: dict[str, Any] = {"name": name, "shape": tensor.shape, "datatype": "FP64"}
        if is_binary:
            content = tensor.astype(DATATYPES["FP64"], copy=False).tobytes()
            after.append(content)
            output["parameters"] = {"binary_data_size": len(content)}
        else:
            output["data"] = tensor.ravel().tolist()
        described.append(output)
    text = to_json(head | {"outputs": described})
    return b"".join([text, *after]), len(text) if after else None


def _in_bytes(content: bytes, stored: np.dtype[Any], shape: Sequence[int]) -> npt.NDArray[Any]:
    takes = math.prod(shape) * stored.itemsize
    if len(content) != takes:
        raise InvalidContent([FieldError(HERE, f"its shape and datatype take {takes} bytes, not {len(content)}")])
    return np.frombuffer(content, stored)


def _in_json(data: list[Any], shape: Sequence[int]) -> list[float]:
    """The B·W numbers of `data`, flat or nested."""
    rows, columns = shape
    place = f"{HERE}/data"
    try:
        if not (data and isinstance(data[0], list)):
            numbers = FLAT.validate_python(data)
            field_errors = (
                [] if len(numbers) == rows * columns else [_count(place, len(numbers), rows * columns, "numbers")]
            )
        else:
            nested = ROWS.validate_python(data)
            uneven = [(i, len(row)) for i, row in enumerate(nested) if len(row) != columns][:MAX_FIELD_ERRORS]
            field_errors = [_count(f"{place}/{i}", found, columns, "numbers") for i, found in uneven]
            if len(nested) != rows:
                field_errors.insert(0, _count(place, len(nested), rows, "rows"))
            numbers = list(chain.from_iterable(nested))
    except ValidationError as error:
        field_errors = [FieldError(f"{place}{fault.pointer}", fault.detail) for fault in field_errors_of(error)]
    if field_errors:
        raise InvalidContent(field_errors)
    return numbers


def _count(pointer: str, found: int, wanted: int, of: str) -> FieldError:
    return FieldError(pointer, f"{found} {of}; the shape says {wanted}")
