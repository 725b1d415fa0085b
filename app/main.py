"""Composition root: the only module that constructs the parts of the application and connects them."""

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
    """The ASGI application: FastAPI behind the middleware stack.

    Attributes:
        fastapi: The FastAPI application, for its lifespan and its OpenAPI document.
        lifecycle: Models, readiness and shutdown.
    """

    def __init__(self, fastapi: FastAPI, lifecycle: Lifecycle, asgi: ASGIApp) -> None:
        """Combine the parts.

        Args:
            fastapi: The FastAPI application, without the middleware stack.
            lifecycle: Models, readiness and shutdown.
            asgi: The outermost middleware.
        """
        self.fastapi = fastapi
        self.lifecycle = lifecycle
        self._asgi = asgi

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        await self._asgi(scope, receive, send)


def create_app(settings: Settings | None = None, on_version_selected: Callable[[], None] = lambda: None) -> Application:
    """Build the application. Models are loaded at startup, in the lifespan.

    Args:
        settings: Read from the environment by default, so that `uvicorn --factory app.main:create_app` works.
        on_version_selected: Called after a client has loaded or unloaded a model, so that the other server processes
            can follow.
    """
    settings = settings or Settings()
    metrics = Metrics()
    shared_dir = os.environ.get(MULTIPROC_DIR_VARIABLE)
    lifecycle = Lifecycle(settings, metrics, VersionOverrideStore(Path(shared_dir)) if shared_dir else None)
    tracing = _create_tracing(settings)

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
    pipeline = RequestPipeline(lifecycle.registry, body_reader, timeouts, settings.deadline_s, metrics.record_warning)
    predict_routes = predict.router(lifecycle.registry, pipeline, settings)
    app.include_router(predict_routes)
    app.include_router(models.router(lifecycle.registry, body_reader, authenticator, on_version_selected))
    infer_routes = infer.router(lifecycle.registry, pipeline, settings)
    repository_routes = repository.router(
        lifecycle.registry, body_reader, authenticator, settings.cors_origins, on_version_selected
    )
    app.include_router(metadata.router(lifecycle.registry, lifecycle.unready_reason, infer_routes, repository_routes))
    app.include_router(health.router(lifecycle.unready_reason))
    if not settings.metrics_port:

        @app.get("/metrics", tags=["health"], summary="Prometheus metrics", response_class=PlainTextResponse)
        def exposition() -> PlainTextResponse:
            """Request counts and latency by route, batch sizes, queue wait and engine time, among others."""
            return PlainTextResponse(metrics.exposition(), media_type="text/plain; version=0.0.4")

    @app.get("/", include_in_schema=False)
    async def redirect_to_docs() -> RedirectResponse:
        return RedirectResponse("/docs")

    asgi: ASGIApp = FastPathMiddleware(SecurityHeadersMiddleware(app), predict_routes.routes)
    limits = settings.max_requests_per_s_per_client, settings.max_windows_per_client
    if settings.api_keys or settings.admin_keys or any(limits):
        asgi = AuthMiddleware(asgi, authenticator, *limits)
    if settings.cors_origins:
        asgi = CORSMiddleware(
            asgi,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["authorization", "content-type", "x-request-id", "x-request-timeout-ms", "traceparent"],
            expose_headers=["retry-after", "x-request-id"],
        )
    asgi = RequestContextMiddleware(asgi, metrics, lifecycle.request_log)
    if tracing is not None:
        asgi = tracing.wrap(asgi)
    return Application(app, lifecycle, asgi)


def _create_tracing(settings: Settings) -> "Tracing | None":
    if settings.otlp_endpoint is None:
        return None
    try:
        from app.observability.tracing import Tracing  # imported late: its packages are optional
    except ImportError as error:
        raise SystemExit(f"PRICECAST_OTLP_ENDPOINT needs the packages of requirements/otel.txt: {error}") from error
    return Tracing(str(settings.otlp_endpoint))
