"""Health and metadata endpoints of the Open Inference Protocol, under `/v2`.

Where the specification, KServe and Triton differ, the server does what clients of both understand. As in KServe, probes
return a body, and status 503 if not ready. As in Triton, inference accepts any content type, raw binary requests and
the parameter `timeout`.
"""

from collections.abc import Callable

from fastapi import APIRouter, Response
from pydantic_core import to_json
from starlette.responses import JSONResponse

from app import __version__, errors
from app.api.problems import error_responses
from app.api.v2.infer import OUTPUTS
from app.api.v2.schemas import (
    MetadataParameters,
    ModelMetadata,
    ModelNames,
    ModelReady,
    ServerLive,
    ServerMetadata,
    ServerReady,
    TensorMetadata,
)
from app.api.v2.tensors import INPUT
from app.errors import NotReady, UnknownModel
from app.serving.model_runner import ModelRegistry, ServedModel

EXTENSIONS = ["binary_tensor_data", "model_repository", "model_repository(unload_dependents)"]
PLATFORMS = {"onnx": "onnxruntime_onnx", "keras": "keras"}  # by engine; Triton defines only the first
LOOKUP_ERRORS = error_responses(errors.UnknownModel, errors.NotReady, is_v2=True)
READY_RESPONSES = error_responses(errors.UnknownModel, is_v2=True) | {
    503: {"model": ModelReady, "description": "Not ready"}
}


def router(registry: ModelRegistry, unready_reason: Callable[[], str | None], *other_routers: APIRouter) -> APIRouter:
    """Create all routes under `/v2`.

    Args:
        registry: Served models.
        unready_reason: Returns why the server should receive no traffic, or None if it is ready.
        other_routers: The inference and repository routes.
    """
    routes = APIRouter(tags=["open inference protocol"])

    @routes.get("/v2", summary="Server metadata")
    async def server_metadata() -> ServerMetadata:
        """Get the server's name, its version and the protocol extensions it supports."""
        return ServerMetadata(name="pricecast", version=__version__, extensions=EXTENSIONS)

    @routes.get("/v2/health/live", summary="Liveness probe")
    async def server_live() -> ServerLive:
        """Return 200 while the process can respond."""
        return ServerLive(live=True)

    @routes.get("/v2/health/ready", summary="Readiness probe", responses=error_responses(errors.NotReady, is_v2=True))
    async def server_ready() -> ServerReady:
        """Return 200 if the default model is loaded and the server is not shutting down. Otherwise, return 503."""
        if (reason := unready_reason()) is not None:
            raise NotReady(reason)
        return ServerReady(ready=True)

    for each in (_model_router(registry), *other_routers):
        routes.include_router(each)
    return routes


def _model_router(registry: ModelRegistry) -> APIRouter:
    routes = APIRouter(prefix="/v2/models")

    @routes.get("", summary="List models")
    async def model_names() -> ModelNames:
        """List the names of the served models, as KServe does. `/v2/repository/index` returns more details."""
        return ModelNames(models=sorted(registry.models))

    @routes.get("/{name}", summary="Model metadata", responses=LOOKUP_ERRORS)
    async def model_metadata(name: str) -> ModelMetadata:
        """Get the input and output tensors of a model, and its served versions."""
        return _metadata(registry, registry.get(name))

    @routes.get("/{name}/versions/{version}", summary="Model version metadata", responses=LOOKUP_ERRORS)
    async def version_metadata(name: str, version: str) -> ModelMetadata:
        """Get the input and output tensors of a model version, and all served versions of the model."""
        return _metadata(registry, registry.get(f"{name}@{version}"))

    @routes.get("/{name}/ready", summary="Model readiness", response_model=ModelReady, responses=READY_RESPONSES)
    async def model_ready(name: str) -> Response:
        """Return 200 if the model can serve requests. Return 503 if it is published, but not loaded or failing."""
        return await _ready(name, None)

    @routes.get(
        "/{name}/versions/{version}/ready",
        summary="Model version readiness",
        response_model=ModelReady,
        responses=READY_RESPONSES,
    )
    async def version_ready(name: str, version: str) -> Response:
        """Return 200 if the version can serve requests. Return 503 if it is published, but not loaded or failing."""
        return await _ready(name, version)

    async def _ready(name: str, version: str | None) -> Response:
        is_ready = False
        try:
            is_ready = registry.get(name if version is None else f"{name}@{version}").runner.is_healthy
        except NotReady:
            pass
        except UnknownModel:
            published = (await registry.published()).get(name)
            if published is None or (version is not None and version not in published.versions):
                raise
        return JSONResponse({"name": name, "ready": is_ready}, 200 if is_ready else 503)

    return routes


def _metadata(registry: ModelRegistry, model: ServedModel) -> ModelMetadata:
    manifest = model.manifest
    horizon, quantiles = manifest.horizon, manifest.quantiles
    forecast_output, quantiles_output = OUTPUTS
    return ModelMetadata(
        name=manifest.name,
        versions=registry.versions(manifest.name),
        platform=PLATFORMS[model.forecaster.engine.name],
        inputs=[TensorMetadata(name=INPUT, datatype="FP64", shape=[-1, manifest.window])],
        outputs=[
            TensorMetadata(name=forecast_output, datatype="FP64", shape=[-1, horizon]),
            TensorMetadata(name=quantiles_output, datatype="FP64", shape=[-1, horizon, len(quantiles)]),
        ],
        parameters=MetadataParameters(horizon=horizon, quantiles=to_json(quantiles).decode()),
    )
