"""The composition root: the one place that constructs things and joins them."""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from app import __version__
from app.api import health, models, openapi, predict, problems
from app.api.middleware.auth import Authenticator, AuthMiddleware
from app.api.middleware.fast_path import FastPathMiddleware
from app.api.middleware.request_context import RequestContextMiddleware
from app.api.middleware.security_headers import SecurityHeadersMiddleware
from app.api.pipeline import RequestPipeline
from app.api.request_body import RequestBodyReader
from app.api.timeouts import TimeoutScheduler
from app.api.v2 import infer, metadata, repository
from app.lifecycle import Lifecycle
from app.observability.metrics import MULTIPROC_DIR_VARIABLE, Metrics
from app.serving.version_overrides import VersionOverrideStore
from app.settings import Settings

if TYPE_CHECKING:
    from app.observability.tracing import Tracing


class Application:
    """What a server calls: FastAPI behind the express lane, and every request in its scope."""

    def __init__(self, fastapi: FastAPI, lifecycle: Lifecycle, front: ASGIApp) -> None:
        self.fastapi = fastapi
        self.lifecycle = lifecycle
        self._front = front

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._front(scope, receive, send)


def create_app(settings: Settings | None = None, on_version_selected: Callable[[], None] = lambda: None) -> Application:
    """The application; models are loaded when it starts up.

    Args:
        settings: from the environment unless given, so that `uvicorn --factory app.main:create_app` works.
        on_version_selected: called when an administrator has chosen a version, for other workers to follow.
    """
    settings = settings or Settings()
    metrics = Metrics()
    shared = os.environ.get(MULTIPROC_DIR_VARIABLE)
    lifecycle = Lifecycle(settings, metrics, VersionOverrideStore(Path(shared)) if shared else None)
    tracing = _tracing(settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            if tracing is not None:
                stack.push_async_callback(tracing.close)
            await stack.enter_async_context(lifecycle)
            yield

    app = FastAPIOffline(
        title="Pricecast",
        version=__version__,
        description=openapi.DESCRIPTION,
        redoc_url=None,
        lifespan=lifespan,
        swagger_ui_parameters={"tryItOutEnabled": True},
    )
    problems.add_error_handlers(app)
    openapi.customize_openapi(app)
    authenticator = Authenticator(settings.api_keys, settings.admin_keys)
    timeouts = TimeoutScheduler()
    body_reader = RequestBodyReader(settings.max_body_bytes, settings.deadline_s, timeouts)
    pipeline = RequestPipeline(lifecycle.registry, body_reader, timeouts, settings.deadline_s, metrics.warned)
    forecasts = predict.router(lifecycle.registry, pipeline, settings)
    app.include_router(forecasts)
    app.include_router(models.router(lifecycle.registry, body_reader, authenticator, on_version_selected))
    inferences = infer.router(lifecycle.registry, pipeline, settings)
    versions = repository.router(
        lifecycle.registry, body_reader, authenticator, settings.cors_origins, on_version_selected
    )
    app.include_router(metadata.router(lifecycle.registry, lifecycle.unready_reason, inferences, versions))
    app.include_router(health.router(lifecycle.unready_reason))
    if not settings.metrics_port:

        @app.get("/metrics", tags=["health"], summary="Metrics for Prometheus", response_class=PlainTextResponse)
        def exposition() -> PlainTextResponse:
            """Requests by route and status, latency, windows per engine call, queue wait and engine time."""
            return PlainTextResponse(metrics.exposition(), media_type="text/plain; version=0.0.4")

    @app.get("/", include_in_schema=False)
    async def root() -> RedirectResponse:
        return RedirectResponse("/docs")

    front: ASGIApp = FastPathMiddleware(SecurityHeadersMiddleware(app), forecasts.routes)
    limits = settings.max_requests_per_s_per_client, settings.max_windows_per_client
    if settings.api_keys or settings.admin_keys or any(limits):
        front = AuthMiddleware(front, authenticator, *limits)
    if settings.cors_origins:
        front = CORSMiddleware(
            front,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["authorization", "content-type", "x-request-id", "x-request-timeout-ms", "traceparent"],
            expose_headers=["retry-after", "x-request-id"],
        )
    front = RequestContextMiddleware(front, metrics, lifecycle.request_log)
    if tracing is not None:
        front = tracing.around(front)
    return Application(app, lifecycle, front)


def _tracing(settings: Settings) -> "Tracing | None":
    if settings.otlp_endpoint is None:
        return None
    try:
        from app.observability.tracing import Tracing  # only here: it is an extra
    except ImportError as error:
        raise SystemExit(f"PRICECAST_OTLP_ENDPOINT needs the packages of requirements/otel.txt: {error}") from error
    return Tracing(str(settings.otlp_endpoint))
