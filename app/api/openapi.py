"""The OpenAPI document: FastAPI's own, plus the request bodies, headers and errors that FastAPI cannot see."""

import re
from typing import Any

from fastapi import FastAPI
from pydantic.json_schema import models_json_schema

from app import errors
from app.api.middleware.auth import PUBLIC_PATHS
from app.api.problems import PROBLEM_TYPES, Problem, V2Error, error_responses, join_titles
from app.api.schemas import BatchRequest, LoadRequest, PredictRequest
from app.api.timeouts import TIMEOUT_HEADER
from app.api.v2.schemas import (
    InferRequest,
    RepositoryIndexRequest,
    RepositoryLoadRequest,
    RepositoryUnloadRequest,
)

DESCRIPTION = """\
Forecasts the next prices of any series from its last 60, with prediction intervals and the evidence behind the model.

* A **forecast** is the median. A prediction **interval** of level 80 is meant to contain the price in 80% of cases.
* **Skill** compares the model with repeating the last price. `GET /models` says whether a model has any.
* If the server requires API keys, send yours as `Authorization: Bearer KEY`.
* Set `X-Request-Timeout-Ms` to the time you are willing to wait. A request predicted to miss its deadline is rejected
  immediately.
* Errors are `application/problem+json`, except under `/v2`, where they are `{"error": …}` as the Open Inference
  Protocol requires. If the request body is invalid, they name the location of each invalid part.
"""
UNUSED_SCHEMAS = ("HTTPValidationError", "ValidationError")  # FastAPI adds them for every path with a parameter
SCHEMA_REFERENCE = "#/components/schemas/{model}"

FORECAST_PATHS = re.compile(r"/predict(/batch)?|/v2/models/.*/infer")  # the paths that run the RequestPipeline
BODY_ERRORS = (  # DeadlineExceeded, because a slow body can exceed the deadline
    errors.BodyTooLarge, errors.UnsupportedMediaType, errors.InvalidContent, errors.DeadlineExceeded,
)  # fmt: skip
TIMEOUT_PARAMETER = {
    "name": TIMEOUT_HEADER,
    "in": "header",
    "description": "Maximum time to wait for the response, in milliseconds. The default and upper bound are the "
    "server setting `PRICECAST_DEADLINE_S`.",
    "schema": {"type": "integer", "minimum": 1},
}
RETRY_AFTER_HEADER = {"description": "Seconds to wait before trying again.", "schema": {"type": "integer"}}
RETRYABLE_STATUSES = {
    str(int(problem_type.status))
    for error_type, problem_type in PROBLEM_TYPES.items()
    if issubclass(error_type, errors.Unavailable)
}


def customize_openapi(app: FastAPI) -> None:
    """Make `app.openapi()` return the completed document."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = generate()
            _, extra_schemas = models_json_schema(
                [
                    (PredictRequest, "validation"), (BatchRequest, "validation"), (LoadRequest, "validation"),
                    (InferRequest, "validation"), (RepositoryIndexRequest, "validation"),
                    (RepositoryLoadRequest, "validation"), (RepositoryUnloadRequest, "validation"),
                    (Problem, "serialization"), (V2Error, "serialization"),
                ],
                ref_template=SCHEMA_REFERENCE,
            )  # fmt: skip
            schemas = document["components"]["schemas"]
            schemas |= extra_schemas["$defs"]
            for name in UNUSED_SCHEMAS:
                schemas.pop(name, None)
            for path, operations in document["paths"].items():
                for operation in operations.values():
                    _add_shared_responses(path, operation)
            document["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
            document["security"] = [{}, {"key": []}]  # the empty entry: keys are optional unless configured
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # the way FastAPI documents


def _add_shared_responses(path: str, operation: dict[str, Any]) -> None:
    """Add the errors and headers that come from the middleware, the body reader and the request pipeline."""
    responses = operation["responses"]
    responses.pop("422", None)  # FastAPI's own 422, which no operation returns
    auth_errors = () if PUBLIC_PATHS.fullmatch(path) else (errors.Unauthorized, errors.RateLimited)
    body_errors = BODY_ERRORS if "requestBody" in operation else ()
    for status, response in error_responses(*auth_errors, *body_errors, is_v2=path.startswith("/v2")).items():
        existing = responses.setdefault(str(status), response)
        existing["description"] = join_titles(existing["description"], response["description"])
    for status in RETRYABLE_STATUSES & responses.keys():
        if any(f"schemas/{schema}'" in str(responses[status]) for schema in ("Problem", "V2Error")):
            responses[status]["headers"] = {"Retry-After": RETRY_AFTER_HEADER}
    operation["responses"] = dict(sorted(responses.items()))
    if FORECAST_PATHS.fullmatch(path):
        operation.setdefault("parameters", []).append(TIMEOUT_PARAMETER)
