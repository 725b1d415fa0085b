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
from app.api import health, inference, models, open_inference, openapi, predict, problems, repository
from app.api.admission import Admission
from app.api.body import Bodies
from app.api.express import Express
from app.api.pages import Pages
from app.api.security import Access, Guard
from app.api.ticker import Ticker
from app.pins import SharedPins
from app.service import Service
from app.settings import Settings
from app.telemetry import SHARED_METRICS, RequestScope, Telemetry

if TYPE_CHECKING:
    from app.tracing import Tracing


class Application:
    """What a server calls: FastAPI behind the express lane, and every request in its scope."""

    def __init__(self, fastapi: FastAPI, service: Service, front: ASGIApp) -> None:
        self.fastapi = fastapi
        self.service = service
        self._front = front

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._front(scope, receive, send)


def create_app(settings: Settings | None = None, on_choice: Callable[[], None] = lambda: None) -> Application:
    """The application; models are loaded when it starts up.

    Args:
        settings: from the environment unless given, so that `uvicorn --factory app.main:create_app` works.
        on_choice: called when an administrator has chosen a version, for other workers to follow.
    """
    settings = settings or Settings()
    telemetry = Telemetry()
    shared = os.environ.get(SHARED_METRICS)
    service = Service(settings, telemetry, SharedPins(Path(shared)) if shared else None)
    tracing = _tracing(settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            if tracing is not None:
                stack.push_async_callback(tracing.close)
            await stack.enter_async_context(service)
            yield

    app = FastAPIOffline(
        title="Pricecast",
        version=__version__,
        description=openapi.DESCRIPTION,
        redoc_url=None,
        lifespan=lifespan,
        swagger_ui_parameters={"tryItOutEnabled": True},
    )
    problems.install(app)
    openapi.install(app)
    access = Access(settings.api_keys, settings.admin_keys)
    ticker = Ticker()
    bodies = Bodies(settings.max_body_bytes, settings.deadline_s, ticker)
    admission = Admission(service.registry, bodies, ticker, settings.deadline_s, telemetry.warned)
    forecasts = predict.router(service.registry, admission, settings)
    app.include_router(forecasts)
    app.include_router(models.router(service.registry, bodies, access, on_choice))
    inferences = inference.router(service.registry, admission, settings)
    versions = repository.router(service.registry, bodies, access, settings.cors_origins, on_choice)
    app.include_router(open_inference.router(service.registry, service.unready, inferences, versions))
    app.include_router(health.router(service.unready))
    if not settings.metrics_port:

        @app.get("/metrics", tags=["health"], summary="Metrics for Prometheus", response_class=PlainTextResponse)
        def metrics() -> PlainTextResponse:
            """Requests by route and status, latency, windows per engine call, queue wait and engine time."""
            return PlainTextResponse(telemetry.exposition(), media_type="text/plain; version=0.0.4")

    @app.get("/", include_in_schema=False)
    async def root() -> RedirectResponse:
        return RedirectResponse("/docs")

    front: ASGIApp = Express(Pages(app), forecasts.routes)
    limits = settings.max_requests_per_s_per_client, settings.max_windows_per_client
    if settings.api_keys or settings.admin_keys or any(limits):
        front = Guard(front, access, *limits)
    if settings.cors_origins:
        front = CORSMiddleware(
            front,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["authorization", "content-type", "x-request-id", "x-request-timeout-ms", "traceparent"],
            expose_headers=["retry-after", "x-request-id"],
        )
    front = RequestScope(front, telemetry, service.request_log)
    if tracing is not None:
        front = tracing.around(front)
    return Application(app, service, front)


def _tracing(settings: Settings) -> "Tracing | None":
    if settings.otlp_endpoint is None:
        return None
    try:
        from app.tracing import Tracing  # only here: it is an extra
    except ImportError as error:
        raise SystemExit(f"PRICECAST_OTLP_ENDPOINT needs the packages of requirements/otel.txt: {error}") from error
    return Tracing(str(settings.otlp_endpoint))
