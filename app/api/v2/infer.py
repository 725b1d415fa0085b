"""/v2/models/…/infer: forecasts by the Open Inference Protocol."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from fastapi import APIRouter, Request, Response
from pydantic_core import to_json

from app import errors
from app.api.pipeline import RequestPipeline
from app.api.problems import documented
from app.api.request_body import MAX_FIELD_ERRORS, documented_body, parse
from app.api.v2.schemas import InferParameters, InferRequest, InferResponse, OutputParameters, RequestOutput
from app.api.v2.tensors import HEADER_LENGTH, HERE, INPUT, Output, json_length, raw_request, read, write
from app.api.validation import horizon_field_errors
from app.artifact.manifest import Manifest
from app.artifact.transform import F64
from app.errors import FieldError, InvalidContent
from app.inference.forecaster import WindowForecast
from app.serving.model_runner import ModelRegistry, ServedModel
from app.settings import Settings

OUTPUTS = ("forecast", "quantiles")
LONGEST_NUMBER = 25  # bytes that JSON takes for a number and a comma, at most if it is not padded
UNOFFERED = ("classification", "shared_memory_region")  # other forms that Triton has for an output
BYTES = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
JSON_LENGTH = {
    "description": "how many bytes of the body are JSON, where those of a tensor follow",
    "schema": {"type": "integer"},
}
FAILURES = documented(
    errors.InvalidHeader, errors.UnknownModel, errors.TooManyWindows, errors.EngineFailed, errors.NotReady,
    errors.Overloaded, errors.Draining, errors.DeadlineExceeded, is_v2=True,
)  # fmt: skip


def router(registry: ModelRegistry, pipeline: RequestPipeline, settings: Settings) -> APIRouter:
    """The routes, on the models of `registry`."""
    routes = APIRouter(prefix="/v2/models")
    documentation: dict[str, Any] = {
        "response_model": InferResponse,
        "responses": FAILURES | {200: {"content": BYTES, "headers": {HEADER_LENGTH: JSON_LENGTH}}},
        "openapi_extra": _documented_body(),
    }

    @routes.post("/{name}/infer", summary="Forecast", **documentation)
    async def infer(name: str, request: Request) -> Response:
        """The median and the quantiles of the next prices, for each window of `prices`.

        Tensors go either way as JSON or as bytes after it. A body of nothing but the bytes of an FP64 tensor is read as
        such where Inference-Header-Content-Length is 0, and its answer is binary too.
        """
        return await _infer(name, request)

    @routes.post("/{name}/versions/{version}/infer", summary="Forecast with one version", **documentation)
    async def version_infer(name: str, version: str, request: Request) -> Response:
        """As `/v2/models/{name}/infer`, by a version that is served, whether or not it is the live one."""
        return await _infer(f"{name}@{version}", request)

    async def _infer(reference: str, request: Request) -> Response:
        headers = dict(request.scope["headers"])
        raw, deadline_s = await pipeline.read(request, headers)
        length = json_length(raw, headers)
        model = registry.get(reference)  # nothing is awaited until it has the windows: it might be retired meanwhile
        manifest = model.manifest
        model.runner.reject_early(max(1, length // (LONGEST_NUMBER * manifest.window)), deadline_s)
        asked = parse(InferRequest, raw[:length]) if length or not raw else raw_request(len(raw), manifest.window)
        parameters = asked.parameters or InferParameters()
        wanted = _check(asked, parameters, manifest)
        prices = read(asked.inputs[0], raw[length:], manifest.window, settings.max_request_windows)  # (B, W)
        if field_errors := model.forecaster.invalid_prices(prices)[:MAX_FIELD_ERRORS]:
            raise InvalidContent(
                [FieldError(HERE, f"row {row}, column {column}: {why}") for row, column, why in field_errors]
            )
        if parameters.timeout:
            deadline_s = min(deadline_s, parameters.timeout / 1e6)
        answers = await pipeline.answers(request, model, [row.tobytes() for row in prices], deadline_s)
        tensors = _tensors(answers, parameters.horizon, len(manifest.levels))
        outputs = [Output(name, tensors[name], is_binary) for name, is_binary in wanted]
        body, length_before_bytes = write(_head(asked, model, answers), outputs)
        if length_before_bytes is None:
            return Response(body, media_type="application/json")
        headers_back = {HEADER_LENGTH: str(length_before_bytes)}
        return Response(body, media_type="application/octet-stream", headers=headers_back)

    return routes


def _check(asked: InferRequest, parameters: InferParameters, manifest: Manifest) -> list[tuple[str, bool]]:
    """The outputs wanted, in order, and whether each is wanted as bytes.

    Raises:
        InvalidContent: it asks for what the model has not.
    """
    field_errors = horizon_field_errors(manifest, parameters.horizon, "/parameters/horizon")
    field_errors += _name_field_errors("input", [each.name for each in asked.inputs], (INPUT,))
    outputs = asked.outputs or [RequestOutput(name=name) for name in OUTPUTS]
    field_errors += _name_field_errors("output", [each.name for each in outputs], OUTPUTS)
    wanted = []
    for i, output in enumerate(outputs):
        own = output.parameters or OutputParameters()
        others = own.model_extra or {}
        field_errors += [
            FieldError(f"/outputs/{i}/parameters/{name}", "this is not supported here")
            for name in UNOFFERED
            if name in others
        ]
        wanted.append((output.name, parameters.binary_data_output if own.binary_data is None else own.binary_data))
    if field_errors:
        raise InvalidContent(field_errors[:MAX_FIELD_ERRORS])
    return wanted


def _name_field_errors(kind: str, names: Sequence[str], known: Sequence[str]) -> list[FieldError]:
    field_errors = []
    seen = set()
    for i, name in enumerate(names):
        if name not in known:
            field_errors.append(
                FieldError(f"/{kind}s/{i}/name", f"this model has no such {kind}; it has {' and '.join(known)}")
            )
        elif name in seen:
            field_errors.append(FieldError(f"/{kind}s/{i}/name", f"this {kind} is there already"))
        seen.add(name)
    return field_errors


def _tensors(answers: Sequence[WindowForecast], horizon: int | None, median: int) -> dict[str, F64]:
    quantiles = np.stack([answer.quantiles[:horizon] for answer in answers])  # (B, H, Q)
    return {"forecast": quantiles[:, :, median], "quantiles": quantiles}


def _head(asked: InferRequest, model: ServedModel, answers: Sequence[WindowForecast]) -> dict[str, Any]:
    """All of a response but its outputs."""
    head: dict[str, Any] = {"model_name": model.manifest.name, "model_version": model.manifest.version}
    if asked.id is not None:
        head["id"] = asked.id
    warnings = [
        {"row": row, "code": warning.code, "detail": warning.detail}
        for row, answer in enumerate(answers)
        for warning in answer.warnings
    ]
    if warnings:  # as text: a parameter is a string, a number or a boolean
        head["parameters"] = {"warnings": to_json(warnings).decode()}
    return head


def _documented_body() -> dict[str, Any]:
    documented = documented_body(InferRequest)
    documented["requestBody"]["content"] |= BYTES
    return documented | {"parameters": [{"name": HEADER_LENGTH, "in": "header"} | JSON_LENGTH]}
