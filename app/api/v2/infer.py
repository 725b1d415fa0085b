"""The inference endpoints of the Open Inference Protocol: `POST /v2/models/…/infer`."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from fastapi import APIRouter, Request, Response
from pydantic_core import to_json

from app import errors
from app.api.pipeline import RequestPipeline
from app.api.problems import error_responses
from app.api.request_body import MAX_FIELD_ERRORS, openapi_request_body, parse_json
from app.api.v2.schemas import InferParameters, InferRequest, InferResponse, OutputParameters, RequestOutput
from app.api.v2.tensors import (
    INPUT,
    INPUT_POINTER,
    JSON_LENGTH_HEADER,
    OutputTensor,
    binary_request,
    json_length,
    read_input,
    write_outputs,
)
from app.api.validation import horizon_field_errors
from app.artifact.arrays import F64
from app.artifact.manifest import Manifest
from app.errors import FieldError, InvalidContent
from app.inference.forecaster import WindowForecast
from app.serving.model_runner import ModelRegistry, ServedModel
from app.settings import Settings

OUTPUTS = ("forecast", "quantiles")
MAX_NUMBER_BYTES = 25  # the longest float64 in unpadded JSON, with a comma
UNSUPPORTED_OUTPUT_PARAMETERS = ("classification", "shared_memory_region")  # Triton extensions
BINARY_CONTENT = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
JSON_LENGTH_PARAMETER = {
    "description": "Size of the JSON in bytes, if binary data follows it.",
    "schema": {"type": "integer"},
}
ERROR_RESPONSES = error_responses(
    errors.InvalidHeader, errors.UnknownModel, errors.TooManyWindows, errors.EngineFailed, errors.NotReady,
    errors.Overloaded, errors.Draining, errors.DeadlineExceeded, is_v2=True,
)  # fmt: skip


def router(registry: ModelRegistry, pipeline: RequestPipeline, settings: Settings) -> APIRouter:
    """Create the inference routes."""
    routes = APIRouter(prefix="/v2/models")
    documentation: dict[str, Any] = {
        "response_model": InferResponse,
        "responses": ERROR_RESPONSES
        | {200: {"content": BINARY_CONTENT, "headers": {JSON_LENGTH_HEADER: JSON_LENGTH_PARAMETER}}},
        "openapi_extra": _openapi_request(),
    }

    @routes.post("/{name}/infer", summary="Run inference", **documentation)
    async def infer(name: str, request: Request) -> Response:
        """Forecast the median and the quantiles of the next prices for each window of the input `prices`.

        Tensors are sent and returned as JSON numbers or as binary data after the JSON. With the header
        `Inference-Header-Content-Length: 0`, the whole body is the binary data of an FP64 tensor, and the outputs are
        binary too.
        """
        return await _infer(name, request)

    @routes.post("/{name}/versions/{version}/infer", summary="Run inference with a model version", **documentation)
    async def version_infer(name: str, version: str, request: Request) -> Response:
        """Same as `/v2/models/{name}/infer`, with a specific served version, which need not be the live one."""
        return await _infer(f"{name}@{version}", request)

    async def _infer(reference: str, request: Request) -> Response:
        headers = dict(request.scope["headers"])
        raw, deadline_s = await pipeline.read(request, headers)
        length = json_length(raw, headers)
        model = registry.get(reference)  # no await between here and the submission: the version could be retired
        manifest = model.manifest
        min_windows = length // (MAX_NUMBER_BYTES * manifest.window)
        model.runner.reject_early(max(1, min_windows), deadline_s)
        has_json = length or not raw
        body = parse_json(InferRequest, raw[:length]) if has_json else binary_request(len(raw), manifest.window)
        parameters = body.parameters or InferParameters()
        requested_outputs = _validate(body, parameters, manifest)
        prices = read_input(body.inputs[0], raw[length:], manifest.window, settings.max_request_windows)  # (B, W)
        if invalid_prices := model.forecaster.invalid_prices(prices)[:MAX_FIELD_ERRORS]:
            raise InvalidContent(
                [FieldError(INPUT_POINTER, f"row {row}, column {col}: {reason}") for row, col, reason in invalid_prices]
            )
        if parameters.timeout:
            deadline_s = min(deadline_s, parameters.timeout / 1e6)
        forecasts = await pipeline.submit(request, model, [row.tobytes() for row in prices], deadline_s)
        values = _output_values(forecasts, parameters.horizon, len(manifest.levels))
        outputs = [OutputTensor(name, values[name], is_binary) for name, is_binary in requested_outputs]
        content, response_json_length = write_outputs(_response_head(body, model, forecasts), outputs)
        if response_json_length is None:
            return Response(content, media_type="application/json")
        response_headers = {JSON_LENGTH_HEADER: str(response_json_length)}
        return Response(content, media_type="application/octet-stream", headers=response_headers)

    return routes


def _validate(body: InferRequest, parameters: InferParameters, manifest: Manifest) -> list[tuple[str, bool]]:
    """Check the request against the model.

    Returns:
        The name of each requested output, and whether to return it as binary data.

    Raises:
        InvalidContent: The model does not support the request.
    """
    field_errors = horizon_field_errors(manifest, parameters.horizon, "/parameters/horizon")
    field_errors += _name_field_errors("input", [tensor.name for tensor in body.inputs], (INPUT,))
    outputs = body.outputs or [RequestOutput(name=name) for name in OUTPUTS]
    field_errors += _name_field_errors("output", [output.name for output in outputs], OUTPUTS)
    requested_outputs = []
    for i, output in enumerate(outputs):
        output_parameters = output.parameters or OutputParameters()
        extra_parameters = output_parameters.model_extra or {}
        field_errors += [
            FieldError(f"/outputs/{i}/parameters/{name}", "not supported by this server")
            for name in UNSUPPORTED_OUTPUT_PARAMETERS
            if name in extra_parameters
        ]
        is_binary = output_parameters.binary_data
        requested_outputs.append((output.name, parameters.binary_data_output if is_binary is None else is_binary))
    if field_errors:
        raise InvalidContent(field_errors[:MAX_FIELD_ERRORS])
    return requested_outputs


def _name_field_errors(kind: str, names: Sequence[str], available: Sequence[str]) -> list[FieldError]:
    """Check that all names of inputs or outputs exist and are unique."""
    field_errors = []
    seen = set()
    for i, name in enumerate(names):
        pointer = f"/{kind}s/{i}/name"
        if name not in available:
            field_errors.append(FieldError(pointer, f"unknown {kind}; this model has {' and '.join(available)}"))
        elif name in seen:
            field_errors.append(FieldError(pointer, f"duplicate {kind}"))
        seen.add(name)
    return field_errors


def _output_values(forecasts: Sequence[WindowForecast], horizon: int | None, median_index: int) -> dict[str, F64]:
    quantiles = np.stack([forecast.quantiles[:horizon] for forecast in forecasts])  # (B, H, Q)
    return {"forecast": quantiles[:, :, median_index], "quantiles": quantiles}


def _response_head(body: InferRequest, model: ServedModel, forecasts: Sequence[WindowForecast]) -> dict[str, Any]:
    """Build the fields of the response other than `outputs`."""
    head: dict[str, Any] = {"model_name": model.manifest.name, "model_version": model.manifest.version}
    if body.id is not None:
        head["id"] = body.id
    warnings = [
        {"row": row, "code": warning.code, "detail": warning.detail}
        for row, forecast in enumerate(forecasts)
        for warning in forecast.warnings
    ]
    if warnings:  # JSON-encoded, because the protocol allows only strings, numbers and booleans as parameters
        head["parameters"] = {"warnings": to_json(warnings).decode()}
    return head


def _openapi_request() -> dict[str, Any]:
    documentation = openapi_request_body(InferRequest)
    documentation["requestBody"]["content"] |= BINARY_CONTENT
    return documentation | {"parameters": [{"name": JSON_LENGTH_HEADER, "in": "header"} | JSON_LENGTH_PARAMETER]}
