"""Error responses: maps each domain error to `application/problem+json` (RFC 9457), or to V2 errors under `/v2`."""

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


class ProblemType(NamedTuple):
    """What all problems of one type share. The `type` URN ends with the slug."""

    status: HTTPStatus
    slug: str
    title: str


# An entry also covers the subclasses of its class. A test checks that every class is covered.
PROBLEM_TYPES: dict[type[errors.PricecastError], ProblemType] = {
    errors.InvalidContent: ProblemType(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid-content", "Invalid request content"),
    errors.BodyTooLarge: ProblemType(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "body-too-large", "Request body too large"),
    errors.UnsupportedMediaType: ProblemType(
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", "Unsupported media type"
    ),
    errors.InvalidHeader: ProblemType(HTTPStatus.BAD_REQUEST, "invalid-header", "Invalid header"),
    errors.Unauthorized: ProblemType(HTTPStatus.UNAUTHORIZED, "unauthorized", "Missing or invalid API key"),
    errors.Forbidden: ProblemType(HTTPStatus.FORBIDDEN, "forbidden", "Insufficient permissions"),
    errors.UnknownModel: ProblemType(HTTPStatus.NOT_FOUND, "unknown-model", "Model not found"),
    errors.NotReady: ProblemType(HTTPStatus.SERVICE_UNAVAILABLE, "not-ready", "Not ready"),
    errors.Overloaded: ProblemType(HTTPStatus.SERVICE_UNAVAILABLE, "overloaded", "Server overloaded"),
    errors.Draining: ProblemType(HTTPStatus.SERVICE_UNAVAILABLE, "draining", "Server shutting down"),
    errors.RateLimited: ProblemType(HTTPStatus.TOO_MANY_REQUESTS, "rate-limited", "Rate limit exceeded"),
    errors.TooManyWindows: ProblemType(
        HTTPStatus.TOO_MANY_REQUESTS, "too-many-windows", "Too many windows in flight for this client"
    ),
    errors.DeadlineExceeded: ProblemType(HTTPStatus.GATEWAY_TIMEOUT, "deadline-exceeded", "Deadline exceeded"),
    errors.EngineFailed: ProblemType(HTTPStatus.INTERNAL_SERVER_ERROR, "engine-failed", "Inference failed"),
    errors.ArtifactError: ProblemType(HTTPStatus.CONFLICT, "artifact-unusable", "Model version failed verification"),
}
INTERNAL_ERROR = ProblemType(HTTPStatus.INTERNAL_SERVER_ERROR, "internal-error", "Internal server error")


class InvalidField(BaseModel):
    """One invalid part of the request body."""

    pointer: str = Field(
        description="JSON pointer into the request body; empty for the body itself.", examples=["/prices/17"]
    )
    detail: str = Field(description="What is invalid.", examples=["Input should be a finite number"])
    id: str | None = Field(default=None, description="The `id` of the series, if it has one.", examples=["AAPL"])


class Problem(BaseModel):
    """Error response in the problem details format (RFC 9457)."""

    model_config = ConfigDict(title="Problem")

    type: str = Field(description="Stable identifier of the problem type.", examples=["urn:pricecast:invalid-content"])
    title: str = Field(description="Name of the problem type.", examples=["Invalid request content"])
    status: int = Field(description="HTTP status code.", examples=[422])
    detail: str = Field(
        description="Explanation of this occurrence.", examples=["/prices/17: Input should be a finite number"]
    )
    request_id: str = Field(description="The request ID, as in the header `X-Request-ID` and in the server log.")
    errors: list[InvalidField] | None = Field(
        default=None, description="All invalid parts of the body. Only present with status 422."
    )


class V2Error(BaseModel):
    """Error response of the Open Inference Protocol."""

    error: str = Field(
        description="Explanation of the error.", examples=["/inputs/0/shape: must be [B, 60] with B >= 1 windows"]
    )


def error_responses(*error_types: type[errors.PricecastError], is_v2: bool = False) -> dict[int | str, dict[str, Any]]:
    """Build the OpenAPI `responses` of an operation that can raise these errors."""
    media_type, schema = ("application/json", "V2Error") if is_v2 else ("application/problem+json", "Problem")
    content = {media_type: {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
    responses: dict[int | str, dict[str, Any]] = {}
    for problem_type in (PROBLEM_TYPES[error_type] for error_type in error_types):
        status = int(_v2_status(problem_type) if is_v2 else problem_type.status)
        response = responses.setdefault(status, {"description": problem_type.title, "content": content})
        response["description"] = join_titles(response["description"], problem_type.title)
    return responses


def join_titles(description: str, title: str) -> str:
    """Append a problem title to the description of a response, unless the description already contains it."""
    if title.lower() in description.lower():
        return description
    return f"{description}; {title[0].lower()}{title[1:]}"


def add_error_handlers(app: FastAPI) -> None:
    """Turn every exception that leaves a route into an error response."""
    for error_type in (errors.PricecastError, HTTPException, ClientDisconnect, Exception):
        app.add_exception_handler(error_type, error_response)


async def error_response(request: Request, error: Exception) -> Response:
    """Build the response to a request that failed with this error."""
    if isinstance(error, errors.PricecastError):
        return _domain_error_response(request, error)
    if isinstance(error, HTTPException):
        return _http_exception_response(request, error)
    if isinstance(error, ClientDisconnect):
        _record_reason(request, "client-gone")
        return Response(status_code=499)  # as nginx logs it; the client is gone, so only metrics and logs see it
    log.error("request %s: unexpected %r", _request_id(request), error, exc_info=error)
    return _problem_response(
        request, INTERNAL_ERROR, "unexpected error; look up this response's X-Request-ID in the server log"
    )


def _domain_error_response(request: Request, error: errors.PricecastError) -> Response:
    problem_type = next(PROBLEM_TYPES[parent] for parent in type(error).__mro__ if parent in PROBLEM_TYPES)
    headers = {}
    invalid_fields = None
    if isinstance(error, errors.Unavailable):
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after_s)))
    if isinstance(error, errors.Unauthorized):
        headers["www-authenticate"] = "Bearer"
    if isinstance(error, errors.BodyTooLarge | errors.BodyTooSlow):
        headers["connection"] = "close"  # the rest of the body will not be read
    if isinstance(error, errors.InvalidContent):
        invalid_fields = [InvalidField(pointer=f.pointer, detail=f.detail, id=f.id) for f in error.field_errors]
    if problem_type.status == HTTPStatus.INTERNAL_SERVER_ERROR:
        log.error("request %s: %s", _request_id(request), error, exc_info=error)
    detail = str(error)
    if isinstance(error, errors.ArtifactError):
        detail = f"{error.path.name}: {error.reason}"  # do not expose directory names to clients
    return _problem_response(request, problem_type, detail, headers, invalid_fields)


def _http_exception_response(request: Request, error: HTTPException) -> Response:
    """Build the response for FastAPI's own errors, such as an unknown path or method."""
    status = HTTPStatus(error.status_code)
    problem_type = ProblemType(status, status.phrase.lower().replace(" ", "-"), status.phrase)
    details = {404: "no such path", 405: f"{request.method} is not allowed on this path"}
    return _problem_response(request, problem_type, details.get(status, error.detail), error.headers)


def _problem_response(
    request: Request,
    problem_type: ProblemType,
    detail: str,
    headers: Mapping[str, str] | None = None,
    invalid_fields: list[InvalidField] | None = None,
) -> Response:
    _record_reason(request, problem_type.slug)
    if request.scope["path"].startswith("/v2"):
        field_details = [f"{field.pointer or 'the body'}: {field.detail}" for field in invalid_fields or ()]
        message = "; ".join(field_details) or detail
        return JSONResponse({"error": message}, status_code=_v2_status(problem_type), headers=headers)
    problem = Problem(
        type=f"urn:pricecast:{problem_type.slug}",
        title=problem_type.title,
        status=problem_type.status,
        detail=detail,
        request_id=_request_id(request),
        errors=invalid_fields,
    )
    content = problem.model_dump_json(exclude_none=True)
    return Response(content, problem_type.status, headers, media_type="application/problem+json")


def _v2_status(problem_type: ProblemType) -> HTTPStatus:
    """Return 400 instead of 422, which KServe and Triton do not use."""
    is_unprocessable = problem_type.status == HTTPStatus.UNPROCESSABLE_ENTITY
    return HTTPStatus.BAD_REQUEST if is_unprocessable else problem_type.status


def _record_reason(request: Request, reason: str) -> None:
    """Store the reason for the metrics and the request log."""
    request.scope.setdefault("state", {})["problem"] = reason


def _request_id(request: Request) -> str:
    return str(request.scope.get("state", {}).get("request_id", ""))
