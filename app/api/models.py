"""GET /models and its children: what is served, and the evidence for it."""

from fastapi import APIRouter

from app import api, errors
from app.api.problems import documented
from app.api.schemas import ModelDetail, Models, ModelSummary
from app.registry import Model


def router(registry: api.Models) -> APIRouter:
    """The routes, on the models of `registry`."""
    routes = APIRouter(prefix="/models", tags=["models"])
    failures = documented(errors.UnknownModel, errors.NotReady)

    @routes.get("", summary="What is served")
    async def list_models() -> Models:
        """Every served model with its evidence in a sentence, and every model that could not be loaded."""
        served = registry.models
        return Models(models=[_summary(registry, served[name]) for name in served], failures=registry.failures)

    @routes.get("/{name}", summary="One model and its evidence", responses=failures)
    async def get_model(name: str) -> ModelDetail:
        """The manifest of the version that is served by default."""
        return _detail(registry, registry.get(name))

    @routes.get("/{name}/versions/{version}", summary="One version and its evidence", responses=failures)
    async def get_model_version(name: str, version: str) -> ModelDetail:
        """The manifest of a version that is served."""
        return _detail(registry, registry.get(f"{name}@{version}"))

    return routes


def _summary(registry: api.Models, model: Model[api.WindowBatcher]) -> ModelSummary:
    manifest = model.manifest
    return ModelSummary(
        name=manifest.name,
        version=manifest.version,
        versions=registry.published_versions(manifest.name),
        default=manifest.name == registry.default_model,
        window=manifest.window,
        horizon=manifest.horizon,
        levels=manifest.levels,
        point_skill=manifest.evidence.point_skill,
        summary=manifest.evidence.summary,
    )


def _detail(registry: api.Models, model: Model[api.WindowBatcher]) -> ModelDetail:
    manifest = model.manifest
    return ModelDetail(
        **dict(_summary(registry, model)),
        created=manifest.created,
        engine=model.forecaster.engine.name,
        quantiles=manifest.quantiles,
        transform=manifest.transform,
        network=manifest.network,
        calibration=manifest.calibration,
        training_ranges=manifest.training_ranges,
        data=manifest.data,
        evidence=manifest.evidence,
        curve=manifest.curve,
        recipe=manifest.recipe,
        libraries=manifest.libraries,
    )
