"""The service: what lives as long as the application, over HTTP or not."""

import asyncio
import logging
from collections.abc import MutableMapping

from app.artifact.manifest import Manifest
from app.errors import ArtifactError, NotReady, UnknownModel
from app.inference.engines.select import select_engine
from app.inference.forecaster import EngineName, Forecaster
from app.observability.logs import RequestLog
from app.observability.metrics import Metrics
from app.serving.model_runner import ModelRegistry, ModelRunner, ServedModel
from app.serving.registry import Registry
from app.serving.version_overrides import VersionOverride
from app.settings import Settings

log = logging.getLogger(__name__)


class Lifecycle:
    """Everything that lives as long as the application: models, their runners, and whether it is on its way out."""

    def __init__(
        self, settings: Settings, metrics: Metrics, overrides: MutableMapping[str, VersionOverride] | None
    ) -> None:
        self.settings = settings
        self.request_log = RequestLog() if settings.log_level in ("debug", "info") else None
        self.metrics = metrics
        self._leaving = False
        self._retiring: set[asyncio.Task[None]] = set()
        self.registry: ModelRegistry = Registry(
            settings.models_dir,
            settings.default_model,
            _engine(settings),
            self._run,
            on_retire=self._retire,
            on_failure=self._failed,
            is_healthy=lambda runner: runner.is_healthy,
            versions_served=settings.versions_served,
            overrides=overrides,
        )

    async def __aenter__(self) -> "Lifecycle":
        await self.registry.refresh()
        self._watch = asyncio.create_task(self._follow_the_directory())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.drain()
        self.flush()

    def leave(self) -> None:
        """Turns readiness false, so that load balancers send no more; requests are still answered."""
        self._leaving = True

    async def drain(self) -> None:
        """Refuses new forecasts; returns when those accepted are answered, or failed at the deadline."""
        self.leave()
        self._watch.cancel()
        closing = [model.runner.close(self.settings.drain_deadline_s) for model in self.registry.served]
        await asyncio.gather(*closing, *self._retiring)

    def flush(self) -> None:
        """Writes the lines of the last requests."""
        if self.request_log is not None:
            self.request_log.flush()

    def unready_reason(self) -> str | None:
        """Why no traffic should come here now, or None."""
        default = self.registry.default_model
        if self._leaving:
            return "the server is shutting down"
        try:
            model = self.registry.get()
        except (NotReady, UnknownModel) as error:
            return str(error)
        return None if model.runner.is_healthy else f"the batcher of the model {default!r} has stopped"

    async def _follow_the_directory(self) -> None:
        """Serves what is published, and what another worker was told to."""
        while every_s := self.settings.models_poll_s:
            await asyncio.sleep(every_s)
            try:
                await self.registry.refresh(only_if_changed=True)
            except Exception:
                log.exception("the models directory could not be looked through; what is served is served on")

    def _run(self, manifest: Manifest, forecaster: Forecaster) -> ModelRunner:
        engine = forecaster.engine.name
        self.metrics.serving(manifest, engine)
        log.info("serving %s@%s: %s", manifest.name, manifest.version, manifest.evidence.summary)
        return ModelRunner(
            forecaster,
            engine_threads=self.settings.engine_threads,
            server_processes=self.settings.workers,
            max_batch_windows=self.settings.max_batch_windows,
            max_queued_windows=self.settings.max_queued_windows,
            delay_s=self.settings.batch_delay_s,
            on_call=self.metrics.called,
            on_coalesced=self.metrics.joined,
            on_death=_log_death,
        )

    def _retire(self, model: ServedModel) -> None:
        """Lets a version go once it has answered what it has accepted."""
        self.metrics.serving(model.manifest, model.forecaster.engine.name, is_served=False)
        log.info("%s is not served any more", model.reference)
        closing = asyncio.create_task(model.runner.close(self.settings.drain_deadline_s))
        self._retiring.add(closing)
        closing.add_done_callback(self._retiring.discard)

    def _failed(self, reference: str, error: ArtifactError) -> None:
        self.metrics.load_failed(reference.partition("@")[0])
        log.error("%s is not served: %s", reference, error)


def _engine(settings: Settings) -> EngineName:
    if settings.engine != "auto":
        return settings.engine
    choice = select_engine()
    log.info("engine %s: %s", choice.engine, choice.reason)
    return choice.engine


def _log_death(error: BaseException) -> None:
    log.critical("a batcher has stopped; its model is not served any more", exc_info=error)
