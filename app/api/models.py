"""The model endpoints under `/models`: served models, their evidence, and loading another version."""

from collections.abc import Callable, Mapping

from fastapi import APIRouter, Depends, Request

from app import errors
from app.api.middleware.auth import Authenticator
from app.api.problems import error_responses
from app.api.request_body import RequestBodyReader, openapi_request_body, parse_json, require_json
from app.api.schemas import LoadRequest, ModelDetail, ModelList, ModelSummary
from app.serving.model_runner import ModelRegistry, ServedModel
from app.serving.published_versions import PublishedVersions


def router(
    registry: ModelRegistry,
    body_reader: RequestBodyReader,
    authenticator: Authenticator,
    on_version_selected: Callable[[], None],
) -> APIRouter:
    """Create the routes under `/models`.

    Args:
        registry: Served models.
        body_reader: Reads request bodies.
        authenticator: Restricts loading to admins.
        on_version_selected: Called after a version was loaded and made live.
    """
    routes = APIRouter(prefix="/models", tags=["models"])
    lookup_errors = error_responses(errors.UnknownModel, errors.NotReady)

    @routes.get("", summary="List models")
    async def list_models() -> ModelList:
        """List the live version of every served model, and the models and versions that failed to load."""
        published = await registry.published()
        models = [_summary(registry, model, published) for model in registry.models.values()]
        return ModelList(models=models, failures=registry.failures)

    @routes.get("/{name}", summary="Get a model", responses=lookup_errors)
    async def get_model(name: str) -> ModelDetail:
        """Get the manifest and evidence of a model's live version, which serves requests that name no version."""
        return _detail(registry, registry.get(name), await registry.published())

    @routes.get("/{name}/versions/{version}", summary="Get a model version", responses=lookup_errors)
    async def get_model_version(name: str, version: str) -> ModelDetail:
        """Get the manifest and evidence of a served version, whether or not it is the live one."""
        return _detail(registry, registry.get(f"{name}@{version}"), await registry.published())

    @routes.post(
        "/{name}/load",
        summary="Load a model version",
        responses=error_responses(errors.Forbidden, errors.UnknownModel, errors.ArtifactError),
        openapi_extra=openapi_request_body(LoadRequest),
        dependencies=[Depends(authenticator.require_admin)],
    )
    async def load(name: str, request: Request) -> ModelSummary:
        """Load a published version and make it the live one. Use it to deploy a new version or to roll back.

        The server verifies and warms up the version first, while the current one keeps serving. If a check fails,
        nothing changes. Requests in flight finish with the version they started with, and the previous version stays
        loaded for a fast rollback. The choice is written to `models/{name}/current`. If the server cannot write
        there, it lasts until the server stops or `current` changes.

        Requires an admin key, unless the server is configured without any keys.
        """
        headers = dict(request.scope["headers"])
        require_json(headers)
        raw = await body_reader.read(request, headers)
        model = await registry.load(name, parse_json(LoadRequest, raw).version)
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
    failures = {
        reference: reason for reference, reason in registry.failures.items() if reference.partition("@")[0] == name
    }
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
