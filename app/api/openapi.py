"""The OpenAPI document: FastAPI's own, with the bodies that the routes read themselves."""

from typing import Any

from fastapi import FastAPI
from pydantic.json_schema import models_json_schema

from app.api.problems import Failure, Problem
from app.api.protocol import IndexRequest, InferRequest, RepositoryLoadRequest, UnloadRequest
from app.api.schemas import BatchRequest, LoadRequest, PredictRequest

DESCRIPTION = """\
Send the last 60 prices of anything, oldest first; get the next ones, how sure the model is, and the evidence for it.

* A **forecast** is the median; **intervals** of a level hold the next price that often, in percent.
* **Skill** is measured against repeating the last price. Where a model has none, it says so: see `GET /models`.
* Where the server asks for keys, send yours as `Authorization: Bearer KEY`.
* `X-Request-Timeout-Ms` says how long you are ready to wait; who would be answered too late is refused at once.
* Every error is `application/problem+json` and names the place in the body that is wrong.
"""
UNUSED = ("HTTPValidationError", "ValidationError")  # FastAPI announces them wherever a path has a parameter
REFERENCE = "#/components/schemas/{model}"


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
            for operation in (each for path in document["paths"].values() for each in path.values()):
                if "application/problem+json" not in str(operation["responses"].get("422")):
                    operation["responses"].pop("422", None)
            document["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
            document["security"] = [{}, {"key": []}]  # none, where the server asks for none
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = complete  # type: ignore[method-assign]  # the way FastAPI documents
