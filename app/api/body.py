"""A request's body: read within limits, validated in one pass, and every fault of it named."""

from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect, Request

from app.errors import BodyTooLarge, Fault, UnsupportedMediaType

LONGEST_POINTER = 200  # an unknown field is named as it was sent, up to this many characters


async def read_body(request: Request, limit_bytes: int) -> bytes:
    """The body, whether its length was announced or it is streamed.

    Raises:
        UnsupportedMediaType: it is not said to be JSON.
        BodyTooLarge: it has more than `limit_bytes`; the rest is not read.
    """
    headers = dict(request.scope["headers"])  # bytes, lower-case; starlette's own reading of them costs more
    media_type = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
    if media_type != b"application/json" and not (
        media_type.startswith(b"application/") and media_type.endswith(b"+json")
    ):
        raise UnsupportedMediaType
    announced = headers.get(b"content-length", b"")
    if announced.isdigit() and int(announced) > limit_bytes:
        raise BodyTooLarge(limit_bytes)
    body = bytearray()  # bytes would be copied whole for every piece that a client cares to send
    more = True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        body += message.get("body", b"")
        if len(body) > limit_bytes:
            raise BodyTooLarge(limit_bytes)
        more = message.get("more_body", False)
    return bytes(body)


def faults_of(error: ValidationError) -> list[Fault]:
    """What pydantic found, without the input itself."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    return [Fault(pointer(each["loc"]), each["msg"]) for each in found]


def pointer(location: Iterable[Any]) -> str:
    """A JSON pointer (RFC 6901)."""
    parts = [str(part).replace("~", "~0").replace("/", "~1") for part in location]
    return "".join(f"/{part}" for part in parts)[:LONGEST_POINTER]


def documented_body(model: type[BaseModel]) -> dict[str, Any]:
    """The `openapi_extra` of an operation that reads its body itself."""
    schema = {"$ref": f"#/components/schemas/{model.__name__}"}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}
