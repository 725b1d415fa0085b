"""Request bodies: reading within limits, decompression, JSON parsing and error locations."""

import zlib
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message

from app.api.timeouts import DeadlineScope, TimeoutScheduler
from app.errors import BodyTooLarge, BodyTooSlow, FieldError, InvalidContent, UnsupportedMediaType

CONTENT_ENCODINGS = (b"identity", b"gzip", b"deflate")
MAX_FIELD_ERRORS = 100  # the series of a batch are not counted: each reports at most one error
MAX_FORMATTED_ERRORS = 10_000  # pydantic needs seconds and gigabytes to format more
MAX_POINTER_CHARS = 200  # a pointer contains the names of unknown fields, which can be arbitrarily long

Parsed = TypeVar("Parsed", bound=BaseModel)


def require_json(headers: Mapping[bytes, bytes]) -> None:
    """Check that the content type is JSON.

    Raises:
        UnsupportedMediaType: The content type is missing or is not JSON.
    """
    media_type = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
    if media_type != b"application/json" and not (
        media_type.startswith(b"application/") and media_type.endswith(b"+json")
    ):
        raise UnsupportedMediaType("the body must be JSON, sent with the header Content-Type: application/json")


class RequestBodyReader:
    """Reads request bodies within a size limit and a deadline.

    Args:
        max_body_bytes: Maximum size, both as sent and after decompression.
        deadline_s: Deadline of reads that specify none.
        timeouts: Schedules the deadlines.
    """

    def __init__(self, max_body_bytes: int, deadline_s: float, timeouts: TimeoutScheduler) -> None:
        self._max_body_bytes = max_body_bytes
        self._deadline_s = deadline_s
        self._timeouts = timeouts

    async def read(self, request: Request, headers: Mapping[bytes, bytes], deadline_s: float | None = None) -> bytes:
        """Read the whole body and decompress it. The body may be chunked.

        Args:
            request: The request to read from.
            headers: The headers of the request. Starlette's `request.headers` is slower.
            deadline_s: Maximum time to wait for the body, in seconds.

        Raises:
            UnsupportedMediaType: The content encoding is not supported.
            BodyTooLarge: The body exceeds the limit. The rest of it is not read.
            BodyTooSlow: The body did not arrive in time.
            InvalidContent: The body cannot be decompressed.
            ClientDisconnect: The client closed the connection.
        """
        encoding = headers.get(b"content-encoding", b"identity").strip().lower()
        if encoding not in CONTENT_ENCODINGS:
            raise UnsupportedMediaType("Content-Encoding must be gzip, deflate or identity")
        content_length = headers.get(b"content-length", b"")
        if content_length.isdigit() and int(content_length) > self._max_body_bytes:
            raise BodyTooLarge(self._max_body_bytes)
        deadline_s = deadline_s or self._deadline_s
        try:
            with DeadlineScope(self._timeouts, deadline_s):
                message = await request.receive()
                body = _chunk(message)
                if message.get("more_body", False):
                    body = await _read_remaining(request, body, self._max_body_bytes)
        except TimeoutError:
            raise BodyTooSlow(deadline_s) from None
        if len(body) > self._max_body_bytes:
            raise BodyTooLarge(self._max_body_bytes)
        return body if encoding == b"identity" else _decompress(body, self._max_body_bytes)


async def _read_remaining(request: Request, first_chunk: bytes, max_body_bytes: int) -> bytes:
    """Read chunks until the body ends or exceeds the limit."""
    body = bytearray(first_chunk)  # appending to bytes would copy the whole body for every chunk
    has_more = True
    while has_more and len(body) <= max_body_bytes:
        message = await request.receive()
        body += _chunk(message)
        has_more = message.get("more_body", False)
    return bytes(body)


def _chunk(message: Message) -> bytes:
    if message["type"] == "http.disconnect":
        raise ClientDisconnect
    chunk: bytes = message.get("body", b"")
    return chunk


def _decompress(body: bytes, max_body_bytes: int) -> bytes:
    """Decompress a gzip or zlib body, never producing more than the limit plus one byte.

    Raises:
        InvalidContent: The body is corrupt, truncated or followed by other data.
        BodyTooLarge: The decompressed body exceeds the limit.
    """
    decompressor = zlib.decompressobj(zlib.MAX_WBITS | 32)  # detects gzip and zlib headers by itself
    try:
        content = decompressor.decompress(body, max_body_bytes + 1)
    except zlib.error:
        raise InvalidContent([FieldError("", "not valid gzip or deflate data")]) from None
    if len(content) > max_body_bytes:
        raise BodyTooLarge(max_body_bytes)
    if not decompressor.eof:
        raise InvalidContent([FieldError("", "truncated gzip or deflate data")])
    if decompressor.unused_data:
        raise InvalidContent([FieldError("", "gzip or deflate data followed by other data")])
    return content


def parse_json(model: type[Parsed], raw: bytes) -> Parsed:
    """Parse and validate a JSON body.

    Raises:
        InvalidContent: The body is not JSON or does not match `model`. Reports up to MAX_FIELD_ERRORS errors.
    """
    try:
        return model.model_validate_json(raw)
    except ValidationError as error:
        raise InvalidContent(field_errors_from(error)[:MAX_FIELD_ERRORS]) from None


def field_errors_from(error: ValidationError) -> list[FieldError]:
    """Convert pydantic's errors to field errors, without the input values."""
    if (count := error.error_count()) > MAX_FORMATTED_ERRORS:
        return [FieldError("", f"contains {count} errors, too many to list")]
    details = error.errors(include_url=False, include_context=False, include_input=False)
    return [FieldError(json_pointer(detail["loc"]), detail["msg"]) for detail in details]


def json_pointer(location: Iterable[Any]) -> str:
    """Build a JSON pointer (RFC 6901), truncated to MAX_POINTER_CHARS."""
    parts = [str(part).replace("~", "~0").replace("/", "~1") for part in location]
    return "".join(f"/{part}" for part in parts)[:MAX_POINTER_CHARS]


def openapi_request_body(model: type[BaseModel], *, is_required: bool = True) -> dict[str, Any]:
    """Build the `openapi_extra` that documents the JSON body of an operation which reads its body itself."""
    schema = {"$ref": f"#/components/schemas/{model.__name__}"}
    return {"requestBody": {"required": is_required, "content": {"application/json": {"schema": schema}}}}
