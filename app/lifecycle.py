"""The application's lifecycle: loading models, watching the models directory, readiness and shutdown."""

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
    """Owns the model registry and the request log from startup to shutdown.

    It is an async context manager: entering it loads the models, and leaving it drains the accepted requests. A server
    that shuts down in steps calls `begin_shutdown` and `drain` before that.

    Attributes:
        registry: The served models.
        request_log: The access log, or None if `log_level` suppresses it.
    """

    def __init__(
        self, settings: Settings, metrics: Metrics, overrides: MutableMapping[str, VersionOverride] | None
    ) -> None:
        """Create the registry. Models are loaded on entering the context.

        Args:
            settings: The settings of the service.
            metrics: Where model and engine events are recorded.
            overrides: Versions that an administrator selected, shared with the other server processes if there are any.
        """
        self.settings = settings
        self.request_log = RequestLog() if settings.log_level in ("debug", "info") else None
        self.metrics = metrics
        self._is_shutting_down = False
        self._closing_runners: set[asyncio.Task[None]] = set()
        self.registry: ModelRegistry = Registry(
            settings.models_dir,
            settings.default_model,
            _choose_engine(settings),
            self._start_runner,
            on_retire=self._retire,
            on_failure=self._on_load_failure,
            is_healthy=lambda runner: runner.is_healthy,
            versions_served=settings.versions_served,
            overrides=overrides,
        )

    async def __aenter__(self) -> "Lifecycle":
        await self.registry.refresh()
        self._watcher = asyncio.create_task(self._watch_models_dir())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.drain()
        self.flush_request_log()

    def begin_shutdown(self) -> None:
        """Report unready, so that load balancers stop sending traffic. Requests are still accepted."""
        self._is_shutting_down = True

    async def drain(self) -> None:
        """Reject new forecasts, and wait until the accepted ones are answered or `drain_deadline_s` has passed."""
        self.begin_shutdown()
        self._watcher.cancel()
        closing = [model.runner.close(self.settings.drain_deadline_s) for model in self.registry.served]
        await asyncio.gather(*closing, *self._closing_runners)

    def flush_request_log(self) -> None:
        """Write the buffered lines of the request log."""
        if self.request_log is not None:
            self.request_log.flush()

    def unready_reason(self) -> str | None:
        """Return why the server is not ready for traffic, or None if it is ready."""
        default = self.registry.default_model
        if self._is_shutting_down:
            return "the server is shutting down"
        try:
            model = self.registry.get()
        except (NotReady, UnknownModel) as error:
            return str(error)
        return None if model.runner.is_healthy else f"the model {default!r} has failed and must be reloaded"

    async def _watch_models_dir(self) -> None:
        """Refresh the registry whenever the models directory or a shared version override has changed."""
        while interval_s := self.settings.models_poll_s:
            await asyncio.sleep(interval_s)
            try:
                await self.registry.refresh(only_if_changed=True)
            except Exception:
                log.exception("cannot check the models directory; the served versions stay as they are")

    def _start_runner(self, manifest: Manifest, forecaster: Forecaster) -> ModelRunner:
        engine = forecaster.engine.name
        self.metrics.set_model_served(manifest, engine, is_served=True)
        log.info("serving %s@%s: %s", manifest.name, manifest.version, manifest.evidence.summary)
        return ModelRunner(
            forecaster,
            engine_threads=self.settings.engine_threads,
            server_processes=self.settings.workers,
            max_batch_windows=self.settings.max_batch_windows,
            max_queued_windows=self.settings.max_queued_windows,
            delay_s=self.settings.batch_delay_s,
            on_call=self.metrics.record_engine_call,
            on_coalesced=self.metrics.record_coalesced_windows,
            on_death=_log_batcher_death,
        )

    def _retire(self, model: ServedModel) -> None:
        """Close the runner of a version that gets no new requests. The accepted ones are still answered."""
        self.metrics.set_model_served(model.manifest, model.forecaster.engine.name, is_served=False)
        log.info("retired %s", model.reference)
        closing = asyncio.create_task(model.runner.close(self.settings.drain_deadline_s))
        self._closing_runners.add(closing)
        closing.add_done_callback(self._closing_runners.discard)

    def _on_load_failure(self, reference: str, error: ArtifactError) -> None:
        self.metrics.record_load_failure(reference.partition("@")[0])
        log.error("cannot load %s: %s", reference, error)


def _choose_engine(settings: Settings) -> EngineName:
    """Return the configured engine, or the one that suits this machine if it is `auto`."""
    if settings.engine != "auto":
        return settings.engine
    selection = select_engine()
    log.info("engine %s: %s", selection.engine, selection.reason)
    return selection.engine


def _log_batcher_death(error: BaseException) -> None:
    log.critical("a batcher has stopped: its model cannot answer requests until it is loaded again", exc_info=error)
