"""The composition root: the one place that constructs things and joins them."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager

from fastapi import FastAPI, Response
from fastapi_offline import FastAPIOffline
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from app import __version__
from app.api import Models, WindowBatcher, health, models, openapi, predict, problems
from app.api.express import Express
from app.batching import Batcher
from app.engines.choice import choose
from app.forecaster import Answer, EngineName, Forecaster
from app.registry import Registry
from app.settings import Settings
from app.telemetry import RequestScope, Telemetry

QUICK_WINDOWS_PER_S = 1000  # of a model as quick as that, the only window there is may hold the event loop
BULK_WINDOWS = 8  # in a request, which then costs a lane far more than the event loop

log = logging.getLogger(__name__)


class Service:
    """Everything that lives as long as the application: models, their batchers, and whether it is on its way out."""

    def __init__(self, settings: Settings, telemetry: Telemetry) -> None:
        self.settings = settings
        self._telemetry = telemetry
        self._stack = AsyncExitStack()
        self._leaving = False
        self.registry: Models = Registry(
            settings.models_dir, settings.default_model, _engine(settings), self._run, _log_failure
        )

    async def __aenter__(self) -> "Service":
        await self.registry.load_all()
        for model in self.registry.models.values():
            self._telemetry.serving(model.manifest, model.forecaster.engine.name)
            log.info("serving %s@%s: %s", model.manifest.name, model.manifest.version, model.manifest.evidence.summary)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.drain()
        await self._stack.aclose()

    def leave(self) -> None:
        """Turns readiness false, so that load balancers send no more; requests are still answered."""
        self._leaving = True

    async def drain(self) -> None:
        """Refuses new forecasts; returns when those accepted are answered, or failed at the deadline."""
        self.leave()
        batchers = [model.runner for model in self.registry.models.values()]
        await asyncio.gather(*(batcher.close(self.settings.drain_deadline_s) for batcher in batchers))

    def unready(self) -> str | None:
        """Why no traffic should come here now, or None."""
        default = self.registry.default_model
        if self._leaving:
            return "the server is shutting down"
        if default in self.registry.failures:
            return f"the model {default!r} could not be loaded: {self.registry.failures[default]}"
        if not self.registry.get().runner.healthy:
            return f"the batcher of the model {default!r} has stopped"
        return None

    def _run(self, forecaster: Forecaster) -> WindowBatcher:
        """A batcher whose calls run in threads: NumPy and ONNX Runtime let go of the interpreter while they compute.

        The event loop needs a core as well, unless requests are large. A lone window is computed in the loop itself:
        to wake a thread would take longer than it holds anyone up.
        """
        engine = forecaster.engine
        lanes = self.settings.lanes or max(1, engine.lanes // self.settings.workers)
        few = lanes if engine.is_on_device or self.settings.lanes else max(1, lanes - 1)
        beside_the_loop = self._threads(few, "lane")
        all_cores = self._threads(lanes, "bulk") if lanes > few else beside_the_loop
        loop = asyncio.get_running_loop()

        async def call(windows: list[bytes]) -> list[Answer]:
            is_lone = len(windows) == 1 == batcher.windows_in_flight
            if is_lone and not engine.is_on_device and batcher.windows_per_s > QUICK_WINDOWS_PER_S:
                return forecaster.answers(windows)
            is_bulk = batcher.windows_in_flight >= BULK_WINDOWS * batcher.requests_in_flight
            threads = all_cores if is_bulk else beside_the_loop
            return await loop.run_in_executor(threads, forecaster.answers, windows)

        batcher: WindowBatcher = Batcher(
            call,
            lanes=max(lanes, 2 * few),  # so that a thread finds its next call ready, however busy the loop is
            max_batch_windows=self.settings.max_batch_windows or engine.batch_windows,
            max_queued_windows=self.settings.max_queued_windows,
            delay_s=self.settings.batch_delay_s,
            clock=time.monotonic,  # that of uvloop knows milliseconds only
            on_call=self._telemetry.called,
            on_death=_log_death,
        )
        return batcher

    def _threads(self, number: int, name: str) -> ThreadPoolExecutor:
        threads = ThreadPoolExecutor(number, thread_name_prefix=name)
        self._stack.callback(threads.shutdown, wait=False, cancel_futures=True)
        return threads


class Application:
    """What a server calls: FastAPI behind the express lane, and every request in its scope."""

    def __init__(self, fastapi: FastAPI, service: Service, front: ASGIApp) -> None:
        self.fastapi = fastapi
        self.service = service
        self._front = front

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._front(scope, receive, send)


def create_app(settings: Settings | None = None) -> Application:
    """The application; models are loaded when it starts up.

    Args:
        settings: from the environment unless given, so that `uvicorn --factory app.main:create_app` works.
    """
    settings = settings or Settings()
    telemetry = Telemetry()
    service = Service(settings, telemetry)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with service:
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
    forecasts = predict.router(service.registry, settings)
    app.include_router(forecasts)
    app.include_router(models.router(service.registry))
    app.include_router(health.router(service.unready))

    @app.get("/metrics", tags=["health"], summary="Metrics for Prometheus", response_class=Response)
    async def metrics() -> Response:
        """Requests by route and status, latency, windows per engine call, queue wait and engine time."""
        return Response(telemetry.exposition(), media_type="text/plain; version=0.0.4")

    @app.get("/", include_in_schema=False)
    async def root() -> RedirectResponse:
        return RedirectResponse("/docs")

    return Application(app, service, RequestScope(Express(app, forecasts.routes), telemetry))


def _engine(settings: Settings) -> EngineName:
    if settings.engine != "auto":
        return settings.engine
    choice = choose()
    log.info("engine %s: %s", choice.engine, choice.reason)
    return choice.engine


def _log_failure(name: str, error: Exception) -> None:
    log.error("the model %r is not served: %s", name, error)


def _log_death(error: BaseException) -> None:
    log.critical("a batcher has stopped; its model is not served any more", exc_info=error)
