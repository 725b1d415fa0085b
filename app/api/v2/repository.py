"""The model repository extension of the Open Inference Protocol, under `/v2/repository`: list, load, unload."""

from collections.abc import Callable, Sequence

from fastapi import APIRouter, Depends, Request

from app import errors
from app.api.middleware.auth import Authenticator
from app.api.problems import error_responses
from app.api.request_body import (
    MAX_FIELD_ERRORS,
    Parsed,
    RequestBodyReader,
    json_pointer,
    openapi_request_body,
    parse_json,
)
from app.api.v2.csrf import reject_cross_origin
from app.api.v2.schemas import (
    RepositoryIndexEntry,
    RepositoryIndexRequest,
    RepositoryLoadParameters,
    RepositoryLoadRequest,
    RepositoryLoadResponse,
    RepositoryUnloadRequest,
    RepositoryUnloadResponse,
)
from app.errors import FieldError, InvalidContent
from app.serving.model_runner import ModelRegistry
from app.serving.published_versions import PublishedVersions


def router(
    registry: ModelRegistry,
    body_reader: RequestBodyReader,
    authenticator: Authenticator,
    allowed_origins: Sequence[str],
    on_version_selected: Callable[[], None],
) -> APIRouter:
    """Create the routes under `/v2/repository`.

    Args:
        registry: Served models.
        body_reader: Reads request bodies.
        authenticator: Restricts loading and unloading to admins.
        allowed_origins: Origins besides the server's own whose pages may call these operations.
        on_version_selected: Called after a model was loaded or unloaded.
    """
    routes = APIRouter(prefix="/v2/repository")

    @routes.post(
        "/index",
        summary="List model versions",
        response_model_exclude_none=True,
        responses=error_responses(errors.Forbidden, is_v2=True),
        openapi_extra=openapi_request_body(RepositoryIndexRequest, is_required=False),
    )
    async def index(request: Request) -> list[RepositoryIndexEntry]:
        """List every published or served model version. Versions that serve requests are in state `READY`."""
        body = await _read(request, RepositoryIndexRequest)
        entries = _index_entries(registry, await registry.published())
        return [entry for entry in entries if entry.state == "READY" or not body.ready]

    @routes.post(
        "/models/{name}/load",
        summary="Load a model",
        responses=error_responses(errors.Forbidden, errors.UnknownModel, errors.ArtifactError, is_v2=True),
        openapi_extra=openapi_request_body(RepositoryLoadRequest, is_required=False),
        dependencies=[Depends(authenticator.require_admin)],
    )
    async def load_model(name: str, request: Request) -> RepositoryLoadResponse:
        """Load a published model version and make it the live one.

        The server verifies and warms up the version first. If a check fails, nothing changes. Overriding the model's
        configuration or files is not supported.

        Requires an admin key, unless the server is configured without any keys.
        """
        parameters = (await _read(request, RepositoryLoadRequest)).parameters or RepositoryLoadParameters()
        if unsupported := parameters.model_extra:
            detail = "not supported by this server: models are loaded as published"
            raise InvalidContent(
                [
                    FieldError(json_pointer(["parameters", each]), detail)
                    for each in list(unsupported)[:MAX_FIELD_ERRORS]
                ]
            )
        await registry.load(name, parameters.version)
        on_version_selected()
        return RepositoryLoadResponse(name=name)

    @routes.post(
        "/models/{name}/unload",
        summary="Unload a model",
        responses=error_responses(errors.Forbidden, errors.UnknownModel, is_v2=True),
        openapi_extra=openapi_request_body(RepositoryUnloadRequest, is_required=False),
        dependencies=[Depends(authenticator.require_admin)],
    )
    async def unload_model(name: str, request: Request) -> RepositoryUnloadResponse:
        """Stop serving all versions of a model.

        Requests in flight finish. Later ones fail with status 404 until the model is loaded again.

        Requires an admin key, unless the server is configured without any keys.
        """
        await _read(request, RepositoryUnloadRequest)
        await registry.unload(name)
        on_version_selected()
        return RepositoryUnloadResponse(name=name)

    async def _read(request: Request, model: type[Parsed]) -> Parsed:
        """Read and parse the body. An empty body stands for an empty object."""
        headers = dict(request.scope["headers"])
        reject_cross_origin(headers, allowed_origins)
        raw = await body_reader.read(request, headers)
        return parse_json(model, raw or b"{}")

    return routes


def _index_entries(registry: ModelRegistry, published: dict[str, PublishedVersions]) -> list[RepositoryIndexEntry]:
    """List all versions by model name, oldest first.

    A model without any version has an entry of its own if loading it failed.
    """
    failed = [model for model in registry.served if not model.runner.is_healthy]
    unhealthy = {model.reference: "it has failed and must be reloaded" for model in failed}
    ready = {model.reference for model in registry.served} - unhealthy.keys()
    reasons = registry.failures | unhealthy
    # If a live version fails to load, the registry reports it under the name of the model.
    for name, (current, _) in published.items():
        if current is not None and name in reasons:
            reasons[f"{name}@{current}"] = reasons.pop(name)
    all_published = {f"{name}@{version}" for name, (_, versions) in published.items() for version in versions}
    entries = []
    for reference in sorted({*ready, *reasons, *all_published}, key=_sort_key):
        name, _, version = reference.partition("@")
        is_ready = reference in ready
        entries.append(
            RepositoryIndexEntry(
                name=name,
                version=version or None,
                state="READY" if is_ready else "UNAVAILABLE",
                reason="" if is_ready else reasons.get(reference, "unloaded"),
            )
        )
    return entries


def _sort_key(reference: str) -> tuple[str, int]:
    name, _, version = reference.partition("@")
    return name, int(version or 0)
