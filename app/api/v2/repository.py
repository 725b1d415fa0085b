"""/v2/repository: the Open Inference Protocol's calls that list models, and have them served or not."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel

from app import errors
from app.api.middleware.auth import Authenticator
from app.api.problems import documented
from app.api.request_body import MAX_FIELD_ERRORS, RequestBodyReader, documented_body, parse, pointer
from app.api.v2.csrf import refuse_foreign_pages
from app.api.v2.schemas import (
    IndexEntry,
    IndexRequest,
    Loaded,
    LoadParameters,
    RepositoryLoadRequest,
    Unloaded,
    UnloadRequest,
)
from app.errors import FieldError, InvalidContent
from app.serving.model_runner import ModelRegistry
from app.serving.published_versions import PublishedVersions

Asked = TypeVar("Asked", bound=BaseModel)


def router(
    registry: ModelRegistry,
    body_reader: RequestBodyReader,
    authenticator: Authenticator,
    cors_origins: Sequence[str],
    on_version_selected: Callable[[], None],
) -> APIRouter:
    """The routes, on the models of `registry`.

    Args:
        cors_origins: whose pages are welcome, beside this server's own.
        on_version_selected: called when an administrator has had a model loaded or unloaded.
    """
    routes = APIRouter(prefix="/v2/repository")
    admin = (errors.Forbidden, errors.UnknownModel)

    @routes.post(
        "/index",
        summary="What could be served, and what is",
        response_model_exclude_none=True,
        responses=documented(errors.Forbidden, is_v2=True),
        openapi_extra=_optional_body(IndexRequest),
    )
    async def index(request: Request) -> list[IndexEntry]:
        """Every version that is published or served. Its state is `READY` where requests to it are answered."""
        asked = await _read(request, IndexRequest)
        entries = _entries(registry, await registry.published())
        return [entry for entry in entries if entry.state == "READY" or not asked.ready]

    @routes.post(
        "/models/{name}/load",
        summary="Serve a model, or another version of it",
        responses=documented(*admin, errors.ArtifactError, is_v2=True),
        openapi_extra=_optional_body(RepositoryLoadRequest),
        dependencies=[Depends(authenticator.administrator)],
    )
    async def load_model(name: str, request: Request) -> Loaded:
        """Verifies and warms a published version, then answers with it all requests that name none.

        What fails any check changes nothing. Models are served as they were published: no configuration and no file of
        one can be sent. It needs an administrator's key where keys are asked for.
        """
        parameters = (await _read(request, RepositoryLoadRequest)).parameters or LoadParameters()
        if own := parameters.model_extra:
            detail = "this is not supported here: a model is served as it was published"
            raise InvalidContent(
                [FieldError(pointer(["parameters", each]), detail) for each in list(own)[:MAX_FIELD_ERRORS]]
            )
        await registry.load(name, parameters.version)
        on_version_selected()
        return Loaded(name=name)

    @routes.post(
        "/models/{name}/unload",
        summary="Serve a model no more",
        responses=documented(*admin, is_v2=True),
        openapi_extra=_optional_body(UnloadRequest),
        dependencies=[Depends(authenticator.administrator)],
    )
    async def unload_model(name: str, request: Request) -> Unloaded:
        """Requests under way are answered; later ones are told that there is no such model, until it is loaded again.

        It needs an administrator's key where keys are asked for.
        """
        await _read(request, UnloadRequest)
        await registry.unload(name)
        on_version_selected()
        return Unloaded(name=name)

    async def _read(request: Request, kind: type[Asked]) -> Asked:
        """The body, which may be left out."""
        headers = dict(request.scope["headers"])
        refuse_foreign_pages(headers, cors_origins)
        raw = await body_reader.read(request, headers)
        return parse(kind, raw or b"{}")

    return routes


def _entries(registry: ModelRegistry, published: dict[str, PublishedVersions]) -> list[IndexEntry]:
    """One for each version, by name and oldest first, and one for each model that has none and should be served."""
    unhealthy = {model.reference: "its batcher has stopped" for model in registry.served if not model.runner.is_healthy}
    ready = {model.reference for model in registry.served} - unhealthy.keys()
    reasons = registry.failures | unhealthy
    for name, (current, _) in published.items():  # what should be live has failed under the model's name
        if current is not None and name in reasons:
            reasons[f"{name}@{current}"] = reasons.pop(name)
    unloaded = {f"{name}@{version}" for name, (_, versions) in published.items() for version in versions}
    entries = []
    for reference in sorted({*ready, *reasons, *unloaded}, key=_order):
        name, _, version = reference.partition("@")
        is_ready = reference in ready
        entries.append(
            IndexEntry(
                name=name,
                version=version or None,
                state="READY" if is_ready else "UNAVAILABLE",
                reason="" if is_ready else reasons.get(reference, "unloaded"),
            )
        )
    return entries


def _order(reference: str) -> tuple[str, int]:
    name, _, version = reference.partition("@")
    return name, int(version or 0)


def _optional_body(model: type[BaseModel]) -> dict[str, Any]:
    documented = documented_body(model)
    documented["requestBody"]["required"] = False
    return documented
