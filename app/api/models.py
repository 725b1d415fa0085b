"""/models and its children: what is served, the evidence for it, and which version it is."""

from collections.abc import Callable

from fastapi import APIRouter, Request
from pydantic import ValidationError

from app import api, errors
from app.api.body import check_json, documented_body, faults_of, read_body
from app.api.problems import documented
from app.api.schemas import LoadRequest, ModelDetail, Models, ModelSummary
from app.errors import InvalidContent
from app.settings import Settings


def router(registry: api.Models, settings: Settings, on_choice: Callable[[], None]) -> APIRouter:
    """The routes, on the models of `registry`.

    Args:
        on_choice: called when another version has been made live.
    """
    routes = APIRouter(prefix="/models", tags=["models"])
    failures = documented(errors.Unauthorized, errors.UnknownModel, errors.NotReady)

    @routes.get("", summary="What is served")
    async def list_models() -> Models:
        """Every model with the evidence for its live version in a sentence, and all that could not be loaded."""
        served = registry.models
        return Models(models=[_summary(registry, served[name]) for name in served], failures=registry.failures)

    @routes.get("/{name}", summary="One model and its evidence", responses=failures)
    async def get_model(name: str) -> ModelDetail:
        """The manifest of the live version: the one that answers requests which name none."""
        return _detail(registry, registry.get(name))

    @routes.get("/{name}/versions/{version}", summary="One version and its evidence", responses=failures)
    async def get_model_version(name: str, version: str) -> ModelDetail:
        """The manifest of a version that is served."""
        return _detail(registry, registry.get(f"{name}@{version}"))

    @routes.post(
        "/{name}/load",
        summary="Serve another version",
        responses=documented(
            errors.Unauthorized, errors.Forbidden, errors.UnknownModel, errors.ArtifactError, errors.InvalidContent,
            errors.UnsupportedMediaType, errors.BodyTooLarge,
        ),
        openapi_extra=documented_body(LoadRequest),
    )  # fmt: skip
    async def load(name: str, request: Request) -> ModelSummary:
        """Verifies and warms a published version beside the live one, then puts it in its place in one step.

        Requests under way are finished by the version they began with. That one stays loaded, so that the way back
        takes no time. A version that fails any check changes nothing. The choice is written to `models/{name}/current`
        where the server may; else it holds until the server ends, or `current` changes. It needs an administrator's key
        where keys are asked for.
        """
        headers = dict(request.scope["headers"])
        check_json(headers)
        raw = await read_body(request, headers, settings.max_body_bytes, settings.deadline_s)
        try:
            wanted = LoadRequest.model_validate_json(raw)
        except ValidationError as error:
            raise InvalidContent(faults_of(error)) from None
        model = await registry.load(name, wanted.version)
        on_choice()
        return _summary(registry, model)

    return routes


def _summary(registry: api.Models, model: api.ServedModel) -> ModelSummary:
    manifest = model.manifest
    return ModelSummary(
        name=manifest.name,
        version=manifest.version,
        versions=registry.published_versions(manifest.name),
        served_versions=registry.versions(manifest.name),
        default=manifest.name == registry.default_model,
        window=manifest.window,
        horizon=manifest.horizon,
        levels=manifest.levels,
        point_skill=manifest.evidence.point_skill,
        summary=manifest.evidence.summary,
    )


def _detail(registry: api.Models, model: api.ServedModel) -> ModelDetail:
    manifest = model.manifest
    name = manifest.name
    failures = {which: why for which, why in registry.failures.items() if which.partition("@")[0] == name}
    return ModelDetail(
        **dict(_summary(registry, model)),
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
