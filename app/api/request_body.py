"""A request's body: read within limits, validated in one pass, and every fault of it named."""

import zlib
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message

from app.api.timeouts import DeadlineScope, TimeoutScheduler
from app.errors import BodyTooLarge, BodyTooSlow, FieldError, InvalidContent, UnsupportedMediaType

CODINGS = (b"identity", b"gzip", b"deflate")
MAX_FIELD_ERRORS = 100  # beside those of a batch's series, of which each has one at most
MAX_COUNTABLE_FIELD_ERRORS = 10_000  # of more, pydantic would take seconds and gigabytes to tell
LONGEST_POINTER = 200  # an unknown field is named as it was sent, up to this many characters

Parsed = TypeVar("Parsed", bound=BaseModel)


def check_json(headers: Mapping[bytes, bytes]) -> None:
    """
    Raises:
        UnsupportedMediaType: the body is not said to be JSON.
    """
    media_type = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
    if media_type != b"application/json" and not (
        media_type.startswith(b"application/") and media_type.endswith(b"+json")
    ):
        raise UnsupportedMediaType("the body must be JSON, sent with the header Content-Type: application/json")


class RequestBodyReader:
    """Reads bodies, within a limit and in time."""

    def __init__(self, limit_bytes: int, deadline_s: float, timeouts: TimeoutScheduler) -> None:
        """
        Args:
            limit_bytes: as sent, and decompressed as well.
            deadline_s: of requests that have none of their own.
        """
        self._limit_bytes = limit_bytes
        self._deadline_s = deadline_s
        self._timeouts = timeouts

    async def read(self, request: Request, headers: Mapping[bytes, bytes], deadline_s: float | None = None) -> bytes:
        """The body, whether its length was announced or it is streamed, and decompressed if need be.

        Args:
            headers: the request's own; starlette's reading of them costs more.

        Raises:
            UnsupportedMediaType: it is coded in a way that is not read here.
            BodyTooLarge: it has more than the limit; the rest is not read.
            BodyTooSlow: it did not come in time.
        """
        coding = headers.get(b"content-encoding", b"identity").strip().lower()
        if coding not in CODINGS:
            raise UnsupportedMediaType("Content-Encoding: a body may be gzip, deflate or identity")
        announced = headers.get(b"content-length", b"")
        if announced.isdigit() and int(announced) > self._limit_bytes:
            raise BodyTooLarge(self._limit_bytes)
        deadline_s = deadline_s or self._deadline_s
        try:
            with DeadlineScope(self._timeouts, deadline_s):
                message = await request.receive()
                body = _piece(message)
                if message.get("more_body", False):
                    body = await _rest(request, body, self._limit_bytes)
        except TimeoutError:
            raise BodyTooSlow(deadline_s) from None
        if len(body) > self._limit_bytes:
            raise BodyTooLarge(self._limit_bytes)
        return body if coding == b"identity" else _decompressed(body, self._limit_bytes)


async def _rest(request: Request, first: bytes, limit_bytes: int) -> bytes:
    """All pieces, until they are too many."""
    body = bytearray(first)  # bytes would be copied whole for every piece that a client cares to send
    has_more = True
    while has_more and len(body) <= limit_bytes:
        message = await request.receive()
        body += _piece(message)
        has_more = message.get("more_body", False)
    return bytes(body)


def _piece(message: Message) -> bytes:
    if message["type"] == "http.disconnect":
        raise ClientDisconnect
    piece: bytes = message.get("body", b"")
    return piece


def _decompressed(body: bytes, limit_bytes: int) -> bytes:
    """
    Raises:
        InvalidContent: it is not what Content-Encoding says.
    """
    reader = zlib.decompressobj(zlib.MAX_WBITS | 32)  # which tells gzip and deflate apart by itself
    try:
        content = reader.decompress(body, limit_bytes + 1)
    except zlib.error:
        raise InvalidContent([FieldError("", "it cannot be decompressed as its Content-Encoding says")]) from None
    if len(content) > limit_bytes:
        raise BodyTooLarge(limit_bytes)
    if not reader.eof:
        raise InvalidContent([FieldError("", "it ends before its compressed content does")])
    if reader.unused_data:
        raise InvalidContent([FieldError("", "it goes on after its compressed content has ended")])
    return content


def parse(kind: type[Parsed], raw: bytes) -> Parsed:
    """
    Raises:
        InvalidContent: it is not JSON, or not as `kind` has it; names what is wrong, up to MAX_FIELD_ERRORS.
    """
    try:
        return kind.model_validate_json(raw)
    except ValidationError as error:
        raise InvalidContent(field_errors_of(error)[:MAX_FIELD_ERRORS]) from None


def field_errors_of(error: ValidationError) -> list[FieldError]:
    """What pydantic found, without the input itself."""
    if (count := error.error_count()) > MAX_COUNTABLE_FIELD_ERRORS:
        return [FieldError("", f"{count} field_errors, which are too many to name")]
    found = error.errors(include_url=False, include_context=False, include_input=False)
    return [FieldError(pointer(each["loc"]), each["msg"]) for each in found]


def pointer(location: Iterable[Any]) -> str:
    """A JSON pointer (RFC 6901)."""
    parts = [str(part).replace("~", "~0").replace("/", "~1") for part in location]
    return "".join(f"/{part}" for part in parts)[:LONGEST_POINTER]


def documented_body(model: type[BaseModel]) -> dict[str, Any]:
    """The `openapi_extra` of an operation that reads its body itself."""
    schema = {"$ref": f"#/components/schemas/{model.__name__}"}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}
