"""The OpenAPI document: FastAPI's own, with the bodies that the routes read themselves, and what stands before them."""

import re
from typing import Any

from fastapi import FastAPI
from pydantic.json_schema import models_json_schema

from app import errors
from app.api.middleware.auth import OPEN
from app.api.problems import TABLE, Failure, Problem, documented
from app.api.schemas import BatchRequest, LoadRequest, PredictRequest
from app.api.v2.schemas import IndexRequest, InferRequest, RepositoryLoadRequest, UnloadRequest

DESCRIPTION = """\
Send the last 60 prices of anything, oldest first; get the next ones, how sure the model is, and the evidence for it.

* A **forecast** is the median; **intervals** of a level hold the next price that often, in percent.
* **Skill** is measured against repeating the last price. Where a model has none, it says so: see `GET /models`.
* Where the server asks for keys, send yours as `Authorization: Bearer KEY`.
* `X-Request-Timeout-Ms` says how long you are ready to wait; who would be answered too late is refused at once.
* Every error is `application/problem+json`, or `{"error": …}` under `/v2`, as that protocol has it. Where the body is
  wrong, it names the place.
"""
UNUSED = ("HTTPValidationError", "ValidationError")  # FastAPI announces them wherever a path has a parameter
REFERENCE = "#/components/schemas/{model}"

FORECASTS = re.compile(r"/predict(/batch)?|/v2/models/.*/infer")  # what RequestPipeline decides on
READING = (  # a body that is too slow has exceeded a deadline
    errors.BodyTooLarge, errors.UnsupportedMediaType, errors.InvalidContent, errors.DeadlineExceeded,
)  # fmt: skip
TIMEOUT_PARAMETER = {
    "name": "X-Request-Timeout-Ms",
    "in": "header",
    "description": "how long you are ready to wait for the answer; the server's own deadline, where that is sooner",
    "schema": {"type": "integer", "minimum": 1},
}
RETRY_AFTER = {"description": "seconds after which it is worth another try", "schema": {"type": "integer"}}
LATER = {str(int(kind.status)) for error, kind in TABLE.items() if issubclass(error, errors.Unavailable)}


def install(app: FastAPI) -> None:
    """Makes `app.openapi()` complete."""
    generate = app.openapi

    def complete() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = generate()
            _, extra = models_json_schema(
                [
                    (PredictRequest, "validation"), (BatchRequest, "validation"), (LoadRequest, "validation"),
                    (InferRequest, "validation"), (IndexRequest, "validation"),
                    (RepositoryLoadRequest, "validation"), (UnloadRequest, "validation"),
                    (Problem, "serialization"), (Failure, "serialization"),
                ],
                ref_template=REFERENCE,
            )  # fmt: skip
            schemas = document["components"]["schemas"]
            schemas |= extra["$defs"]
            for name in UNUSED:
                schemas.pop(name, None)
            for path, operations in document["paths"].items():
                for operation in operations.values():
                    _complete(path, operation)
            document["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
            document["security"] = [{}, {"key": []}]  # none, where the server asks for none
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = complete  # type: ignore[method-assign]  # the way FastAPI documents


def _complete(path: str, operation: dict[str, Any]) -> None:
    """Adds what holds for an operation by what stands before it, and no route says."""
    responses = operation["responses"]
    responses.pop("422", None)  # FastAPI's own, which is never answered
    guards = () if OPEN.fullmatch(path) else (errors.Unauthorized, errors.RateLimited)
    reading = READING if "requestBody" in operation else ()
    for status, response in documented(*guards, *reading, is_v2=path.startswith("/v2")).items():
        own = responses.setdefault(str(status), response)
        if response["description"].lower() not in own["description"].lower():
            own["description"] += f"; {response['description'][0].lower()}{response['description'][1:]}"
    for status in LATER & responses.keys():
        if any(f"schemas/{said}'" in str(responses[status]) for said in ("Problem", "Failure")):
            responses[status]["headers"] = {"Retry-After": RETRY_AFTER}
    operation["responses"] = dict(sorted(responses.items()))
    if FORECASTS.fullmatch(path):
        operation.setdefault("parameters", []).append(TIMEOUT_PARAMETER)
