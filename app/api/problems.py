"""Domain errors as HTTP answers: `application/problem+json` (RFC 9457), from one table."""

import logging
import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, NamedTuple

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from app import errors

log = logging.getLogger(__name__)


class Kind(NamedTuple):
    status: HTTPStatus
    slug: str
    title: str


# A class answers for its subclasses; a test walks the tree and finds none without an answer.
TABLE: dict[type[errors.PricecastError], Kind] = {
    errors.InvalidContent: Kind(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid-content", "The request cannot be answered"),
    errors.BodyTooLarge: Kind(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "body-too-large", "The body is too large"),
    errors.UnsupportedMediaType: Kind(
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", "The body is of a kind that is not read here"
    ),
    errors.InvalidHeader: Kind(HTTPStatus.BAD_REQUEST, "invalid-header", "A header cannot be understood"),
    errors.Unauthorized: Kind(HTTPStatus.UNAUTHORIZED, "unauthorized", "A valid key is missing"),
    errors.Forbidden: Kind(HTTPStatus.FORBIDDEN, "forbidden", "The key does not open this"),
    errors.UnknownModel: Kind(HTTPStatus.NOT_FOUND, "unknown-model", "No such model"),
    errors.NotReady: Kind(HTTPStatus.SERVICE_UNAVAILABLE, "not-ready", "The model is not ready"),
    errors.Overloaded: Kind(HTTPStatus.SERVICE_UNAVAILABLE, "overloaded", "Too many requests are waiting"),
    errors.Draining: Kind(HTTPStatus.SERVICE_UNAVAILABLE, "draining", "The server is shutting down"),
    errors.RateLimited: Kind(HTTPStatus.TOO_MANY_REQUESTS, "rate-limited", "Too many requests of this client"),
    errors.TooManyWindows: Kind(
        HTTPStatus.TOO_MANY_REQUESTS, "too-many-windows", "Too many windows of this client are in flight"
    ),
    errors.DeadlineExceeded: Kind(HTTPStatus.GATEWAY_TIMEOUT, "deadline-exceeded", "The deadline has passed"),
    errors.EngineFailed: Kind(HTTPStatus.INTERNAL_SERVER_ERROR, "engine-failed", "The forecast could not be computed"),
    errors.ArtifactError: Kind(HTTPStatus.CONFLICT, "artifact-unusable", "This version must not be served"),
}
UNEXPECTED = Kind(HTTPStatus.INTERNAL_SERVER_ERROR, "internal-error", "Something went wrong here")


class FieldErrorBody(BaseModel):
    pointer: str = Field(description="JSON pointer into the request's body", examples=["/prices/17"])
    detail: str = Field(examples=["Input should be a finite number"])
    id: str | None = Field(default=None, description="the series' own id, where it gave one", examples=["AAPL"])


class Problem(BaseModel):
    """What went wrong, for programs and for people (RFC 9457)."""

    model_config = ConfigDict(title="Problem")

    type: str = Field(description="stable name of the kind of problem", examples=["urn:pricecast:invalid-content"])
    title: str = Field(description="the same in words", examples=["The request cannot be answered"])
    status: int = Field(examples=[422])
    detail: str = Field(description="this occurrence", examples=["/prices/17: Input should be a finite number"])
    request_id: str = Field(description="as in the header X-Request-ID and in the log")
    errors: list[FieldErrorBody] | None = Field(default=None, description="every place that is wrong; 422 only")


class Failure(BaseModel):
    """What went wrong, as the Open Inference Protocol has it."""

    error: str = Field(examples=["/inputs/0/shape: it must be [B, 60], for B windows, 1 or more"])


def documented(*kinds: type[errors.PricecastError], is_v2: bool = False) -> dict[int | str, dict[str, Any]]:
    """The `responses` of an operation that can fail in these ways, for OpenAPI."""
    media_type, schema = ("application/json", "Failure") if is_v2 else ("application/problem+json", "Problem")
    content = {media_type: {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
    by_status: dict[int | str, dict[str, Any]] = {}
    for kind in (TABLE[error] for error in kinds):
        status = int(_v2_status(kind) if is_v2 else kind.status)
        described = by_status.setdefault(status, {"description": kind.title, "content": content})
        if kind.title not in described["description"]:
            described["description"] += f"; {kind.title[0].lower()}{kind.title[1:]}"
    return by_status


def install(app: FastAPI) -> None:
    """Makes every error that leaves a route an answer of this form."""
    for kind in (errors.PricecastError, HTTPException, ClientDisconnect, Exception):
        app.add_exception_handler(kind, answer)


async def answer(request: Request, error: Exception) -> Response:
    """What to say of an error that ended a request."""
    if isinstance(error, errors.PricecastError):
        return _domain_error(request, error)
    if isinstance(error, HTTPException):
        return _routing_error(request, error)
    if isinstance(error, ClientDisconnect):
        _note(request, "client-gone")
        return Response(status_code=499)  # nginx's number for it; seen by the metrics and the log only
    log.error("request %s: unexpected %r", _request_id(request), error, exc_info=error)
    return _problem(request, UNEXPECTED, "the server's log tells more, under this request_id")


def _domain_error(request: Request, error: errors.PricecastError) -> Response:
    kind = next(TABLE[parent] for parent in type(error).__mro__ if parent in TABLE)
    headers = {}
    field_errors = None
    if isinstance(error, errors.Unavailable):
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after_s)))
    if isinstance(error, errors.Unauthorized):
        headers["www-authenticate"] = "Bearer"
    if isinstance(error, errors.BodyTooLarge | errors.BodyTooSlow):
        headers["connection"] = "close"  # the rest of the body is not going to be read
    if isinstance(error, errors.InvalidContent):
        field_errors = [FieldErrorBody(pointer=f.pointer, detail=f.detail, id=f.id) for f in error.field_errors]
    if kind.status == HTTPStatus.INTERNAL_SERVER_ERROR:
        log.error("request %s: %s", _request_id(request), error, exc_info=error)
    detail = str(error)
    if isinstance(error, errors.ArtifactError):
        detail = f"{error.path.name}: {error.reason}"  # where it lies is nobody's business but the log's
    return _problem(request, kind, detail, headers, field_errors)


def _routing_error(request: Request, error: HTTPException) -> Response:
    status = HTTPStatus(error.status_code)
    kind = Kind(status, status.phrase.lower().replace(" ", "-"), status.phrase)
    return _problem(request, kind, f"{request.method} on this path: {error.detail}", error.headers)


def _problem(
    request: Request,
    kind: Kind,
    detail: str,
    headers: Mapping[str, str] | None = None,
    field_errors: list[FieldErrorBody] | None = None,
) -> Response:
    _note(request, kind.slug)
    if request.scope["path"].startswith("/v2"):  # the Open Inference Protocol has a form of its own
        where = [f"{field_error.pointer or 'the body'}: {field_error.detail}" for field_error in field_errors or ()]
        return JSONResponse({"error": "; ".join(where) or detail}, status_code=_v2_status(kind), headers=headers)
    problem = Problem(
        type=f"urn:pricecast:{kind.slug}",
        title=kind.title,
        status=kind.status,
        detail=detail,
        request_id=_request_id(request),
        errors=field_errors,
    )
    content = problem.model_dump_json(exclude_none=True)
    return Response(content, kind.status, headers, media_type="application/problem+json")


def _v2_status(kind: Kind) -> HTTPStatus:
    """KServe and Triton know no 422."""
    return HTTPStatus.BAD_REQUEST if kind.status == HTTPStatus.UNPROCESSABLE_ENTITY else kind.status


def _note(request: Request, reason: str) -> None:
    """For the metrics and the log."""
    request.scope.setdefault("state", {})["problem"] = reason


def _request_id(request: Request) -> str:
    return str(request.scope.get("state", {}).get("request_id", ""))
