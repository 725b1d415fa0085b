"""/v2: the Open Inference Protocol over REST, with binary tensors and the repository calls.

Where servers differ from its text and from each other, this one does what clients of KServe and of Triton both
understand: probes answer with a body and 503 (KServe); JSON need not be called so, a body may be the bytes of a tensor
alone, and `timeout` is heeded (Triton).
"""

from collections.abc import Callable

from fastapi import APIRouter, Response
from pydantic_core import to_json
from starlette.responses import JSONResponse

from app import __version__, errors
from app.api.problems import documented
from app.api.v2.infer import OUTPUTS
from app.api.v2.schemas import (
    Live,
    MetadataParameters,
    ModelMetadata,
    ModelNames,
    ModelReady,
    Ready,
    ServerMetadata,
    TensorMetadata,
)
from app.api.v2.tensors import INPUT
from app.errors import NotReady, UnknownModel
from app.serving.model_runner import ModelRegistry, ServedModel

EXTENSIONS = ["binary_tensor_data", "model_repository", "model_repository(unload_dependents)"]
PLATFORMS = {"onnx": "onnxruntime_onnx", "keras": "keras"}  # by engine; Triton has a name for the first only
UNKNOWN = documented(errors.UnknownModel, errors.NotReady, is_v2=True)
READINESS = documented(errors.UnknownModel, is_v2=True) | {
    503: {"model": ModelReady, "description": "It is not served"}
}


def router(registry: ModelRegistry, unready_reason: Callable[[], str | None], *others: APIRouter) -> APIRouter:
    """The routes, on the models of `registry`.

    Args:
        unready_reason: why requests should not be sent here now; None where they may.
        others: those of inference and of the repository.
    """
    routes = APIRouter(tags=["open inference protocol"])

    @routes.get("/v2", summary="What this server is")
    async def server_metadata() -> ServerMetadata:
        """Its name, its version, and the extensions of the protocol that it has."""
        return ServerMetadata(name="pricecast", version=__version__, extensions=EXTENSIONS)

    @routes.get("/v2/health/live", summary="Is the process alive?")
    async def server_live() -> Live:
        """Answers as long as the process can answer at all."""
        return Live(live=True)

    @routes.get(
        "/v2/health/ready", summary="May traffic be sent here?", responses=documented(errors.NotReady, is_v2=True)
    )
    async def server_ready() -> Ready:
        """200 when the default model is loaded, verified and warm, and the server is not on its way out."""
        if (reason := unready_reason()) is not None:
            raise NotReady(reason)
        return Ready(ready=True)

    for each in (_models(registry), *others):
        routes.include_router(each)
    return routes


def _models(registry: ModelRegistry) -> APIRouter:
    routes = APIRouter(prefix="/v2/models")

    @routes.get("", summary="What is served")
    async def model_names() -> ModelNames:
        """The names of all models, as KServe lists them; `/v2/repository/index` tells more."""
        return ModelNames(models=sorted(registry.models))

    @routes.get("/{name}", summary="A model's tensors", responses=UNKNOWN)
    async def model_metadata(name: str) -> ModelMetadata:
        """What the model takes and returns, and which of its versions are served."""
        return _metadata(registry, registry.get(name))

    @routes.get("/{name}/versions/{version}", summary="A version's tensors", responses=UNKNOWN)
    async def version_metadata(name: str, version: str) -> ModelMetadata:
        """What this version takes and returns, and which of the model's are served."""
        return _metadata(registry, registry.get(f"{name}@{version}"))

    @routes.get("/{name}/ready", summary="Is a model served?", response_model=ModelReady, responses=READINESS)
    async def model_ready(name: str) -> Response:
        """503 where it is not, though it is published: it could not be loaded, or an administrator has unloaded it."""
        return await _ready(name, None)

    @routes.get(
        "/{name}/versions/{version}/ready",
        summary="Is a version served?",
        response_model=ModelReady,
        responses=READINESS,
    )
    async def version_ready(name: str, version: str) -> Response:
        """503 where it is not, though it is published: it could not be loaded, or has been retired."""
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
    forecast, spread = OUTPUTS
    return ModelMetadata(
        name=manifest.name,
        versions=registry.versions(manifest.name),
        platform=PLATFORMS[model.forecaster.engine.name],
        inputs=[TensorMetadata(name=INPUT, datatype="FP64", shape=[-1, manifest.window])],
        outputs=[
            TensorMetadata(name=forecast, datatype="FP64", shape=[-1, horizon]),
            TensorMetadata(name=spread, datatype="FP64", shape=[-1, horizon, len(quantiles)]),
        ],
        parameters=MetadataParameters(horizon=horizon, quantiles=to_json(quantiles).decode()),
    )
