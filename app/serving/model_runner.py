"""A runner: one forecaster's batcher, and the threads that its calls run in."""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from app.inference.forecaster import WindowForecast, Forecaster
from app.serving.batcher import Batcher, Call
from app.serving.registry import Model, Registry

QUICK_WINDOWS_PER_S = 1000  # of a model as quick as that, the only window there is may hold the event loop


class ModelRunner:
    """Takes many callers' windows to one forecaster.

    Networks run in threads, and let go of the interpreter there. What comes before and after is done in the event loop,
    which needs the interpreter anyway: to have it pass from hand to hand between NumPy's many short operations takes
    longer than they do. A device takes so many windows in a call that its threads do all of it. The event loop needs
    a core as well, unless requests are large. A lone window is computed in the loop itself: to wake a thread would
    take longer than it holds anyone up.
    """

    def __init__(
        self,
        forecaster: Forecaster,
        *,
        engine_threads: int,
        server_processes: int,
        max_batch_windows: int,
        max_queued_windows: int,
        delay_s: float,
        on_call: Callable[[Call], None],
        on_joined: Callable[[int], None],
        on_death: Callable[[BaseException], None],
    ) -> None:
        """
        Args:
            engine_threads: calls at once; 0 for what suits the engine, shared among `server_processes` processes.
            max_batch_windows: 0 for what suits the engine.
        """
        engine = forecaster.engine
        many = engine_threads or max(1, engine.concurrent_calls // server_processes)
        few = many if engine.is_on_device or engine_threads else max(1, many - 1)
        self._forecaster = forecaster
        self._loop = asyncio.get_running_loop()
        self._beside_the_loop = ThreadPoolExecutor(few, thread_name_prefix="engine")
        self._all_cores = ThreadPoolExecutor(many, thread_name_prefix="bulk") if many > few else self._beside_the_loop
        self.batcher = Batcher(
            self._call,
            concurrent_calls=max(many, 2 * few),  # so that a thread finds its next call ready, however busy the loop is
            bulk_concurrent_calls=2 * many,
            max_batch_windows=max_batch_windows or engine.preferred_batch_windows,
            max_queued_windows=max_queued_windows,
            delay_s=delay_s,
            clock=time.monotonic,  # that of uvloop knows milliseconds only
            on_call=on_call,
            on_joined=on_joined,
            on_death=on_death,
        )
        self.submit = self.batcher.submit
        self.reject_early = self.batcher.reject_early

    @property
    def healthy(self) -> bool:
        return self.batcher.healthy

    async def close(self, drain_s: float) -> None:
        """Refuses new work; returns when what was accepted is answered, or failed after `drain_s`.

        Threads end when the calls do that they are in.
        """
        await self.batcher.close(drain_s)
        for threads in (self._beside_the_loop, self._all_cores):
            threads.shutdown(wait=False, cancel_futures=True)

    async def _call(self, windows: list[bytes]) -> Sequence[WindowForecast]:
        batcher, forecaster = self.batcher, self._forecaster
        if forecaster.engine.is_on_device:
            return await self._loop.run_in_executor(self._beside_the_loop, forecaster.forecast_packed, windows)
        if len(windows) == 1 == batcher.windows_in_flight and batcher.throughput.windows_per_s > QUICK_WINDOWS_PER_S:
            return forecaster.forecast_packed(windows)
        threads = self._all_cores if batcher.is_bulk else self._beside_the_loop
        batch = forecaster.preprocess(windows)
        return forecaster.postprocess(batch, await self._loop.run_in_executor(threads, forecaster.infer, batch))


ServedModel = Model[ModelRunner]
ModelRegistry = Registry[ModelRunner]
