"""/models and its children: what is served, the evidence for it, and which version it is."""

from collections.abc import Callable, Mapping

from fastapi import APIRouter, Depends, Request

from app import errors
from app.api.middleware.auth import Authenticator
from app.api.problems import documented
from app.api.request_body import RequestBodyReader, check_json, documented_body, parse
from app.api.schemas import LoadRequest, ModelDetail, ModelList, ModelSummary
from app.serving.model_runner import ModelRegistry, ServedModel
from app.serving.published_versions import PublishedVersions


def router(
    registry: ModelRegistry,
    body_reader: RequestBodyReader,
    authenticator: Authenticator,
    on_version_selected: Callable[[], None],
) -> APIRouter:
    """The routes, on the models of `registry`.

    Args:
        on_version_selected: called when another version has been made live.
    """
    routes = APIRouter(prefix="/models", tags=["models"])
    failures = documented(errors.UnknownModel, errors.NotReady)

    @routes.get("", summary="What is served")
    async def list_models() -> ModelList:
        """Every model with the evidence for its live version in a sentence, and all that could not be loaded."""
        published = await registry.published()
        models = [_summary(registry, model, published) for model in registry.models.values()]
        return ModelList(models=models, failures=registry.failures)

    @routes.get("/{name}", summary="One model and its evidence", responses=failures)
    async def get_model(name: str) -> ModelDetail:
        """The manifest of the live version: the one that answers requests which name none."""
        return _detail(registry, registry.get(name), await registry.published())

    @routes.get("/{name}/versions/{version}", summary="One version and its evidence", responses=failures)
    async def get_model_version(name: str, version: str) -> ModelDetail:
        """The manifest of a version that is served."""
        return _detail(registry, registry.get(f"{name}@{version}"), await registry.published())

    @routes.post(
        "/{name}/load",
        summary="Serve another version",
        responses=documented(errors.Forbidden, errors.UnknownModel, errors.ArtifactError),
        openapi_extra=documented_body(LoadRequest),
        dependencies=[Depends(authenticator.administrator)],
    )
    async def load(name: str, request: Request) -> ModelSummary:
        """Verifies and warms a published version beside the live one, then puts it in its place in one step.

        Requests under way are finished by the version they began with. That one stays loaded, so that the way back
        takes no time. A version that fails any check changes nothing. The choice is written to `models/{name}/current`
        where the server may; else it holds until the server ends, or `current` changes. It needs an administrator's key
        where keys are asked for.
        """
        headers = dict(request.scope["headers"])
        check_json(headers)
        raw = await body_reader.read(request, headers)
        model = await registry.load(name, parse(LoadRequest, raw).version)
        on_version_selected()
        return _summary(registry, model, await registry.published())

    return routes


def _summary(registry: ModelRegistry, model: ServedModel, published: Mapping[str, PublishedVersions]) -> ModelSummary:
    manifest = model.manifest
    name = manifest.name
    return ModelSummary(
        name=name,
        version=manifest.version,
        versions=published[name].versions if name in published else [],
        served_versions=registry.versions(name),
        default=name == registry.default_model,
        window=manifest.window,
        horizon=manifest.horizon,
        levels=manifest.levels,
        point_skill=manifest.evidence.point_skill,
        summary=manifest.evidence.summary,
    )


def _detail(registry: ModelRegistry, model: ServedModel, published: Mapping[str, PublishedVersions]) -> ModelDetail:
    manifest = model.manifest
    name = manifest.name
    failures = {which: why for which, why in registry.failures.items() if which.partition("@")[0] == name}
    return ModelDetail(
        **dict(_summary(registry, model, published)),
        failures=failures,
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
