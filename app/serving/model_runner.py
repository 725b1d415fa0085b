"""The model runner: the batcher of one forecaster, and the engine threads that run its calls."""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from app.inference.forecaster import Forecaster, WindowForecast
from app.serving.batcher import Batcher, Call
from app.serving.registry import Registry
from app.serving.served_models import LoadedModel

# A model faster than this computes a lone window in the event loop.
INLINE_WINDOWS_PER_S = 1000


class ModelRunner:
    """Batches the requests for one forecaster and runs its engine calls.

    Where a call runs depends on the engine and the load:

    - On the CPU, only the network runs in an engine thread, where it releases the interpreter lock. Preprocessing and
      postprocessing run in the event loop: they consist of many short NumPy operations, and passing the lock between
      threads for each would take longer than the operations do.
    - One core is left to the event loop, unless requests are bulk: those use all cores.
    - A lone window of a fast model is computed in the event loop, because waking a thread would take longer than the
      computation blocks the loop.
    - On a device, calls are so large that preprocessing would block the event loop: an engine thread runs all of it.

    Args:
        forecaster: The model to run.
        engine_threads: Number of engine threads; 0 for the number that suits the engine, divided among the processes.
        server_processes: Number of server processes that share the cores.
        max_batch_windows: Maximum number of windows in one call; 0 for the number that suits the engine.
        max_queued_windows: Maximum number of windows that wait for a call.
        delay_s: Time the oldest window waits for others before a call that is not full.
        on_call: Called after each engine call.
        on_coalesced: Called with the number of a request's windows that were in flight already.
        on_death: Called once with the error that stopped the batcher.
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
        on_coalesced: Callable[[int], None],
        on_death: Callable[[BaseException], None],
    ) -> None:
        engine = forecaster.engine
        bulk_threads = engine_threads or max(1, engine.concurrent_calls // server_processes)
        threads = bulk_threads if engine.is_on_device or engine_threads else max(1, bulk_threads - 1)
        self._forecaster = forecaster
        self._loop = asyncio.get_running_loop()
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="engine")
        self._bulk_threads = (
            ThreadPoolExecutor(bulk_threads, thread_name_prefix="bulk") if bulk_threads > threads else self._threads
        )
        self.batcher = Batcher(
            self._call,
            # Twice the number of threads, so that a thread finds its next call ready even if the event loop is busy.
            concurrent_calls=2 * threads,
            bulk_concurrent_calls=2 * bulk_threads,
            max_batch_windows=max_batch_windows or engine.preferred_batch_windows,
            max_queued_windows=max_queued_windows,
            delay_s=delay_s,
            clock=time.monotonic,  # the clock of uvloop has a resolution of a millisecond only
            on_call=on_call,
            on_coalesced=on_coalesced,
            on_death=on_death,
        )
        self.submit = self.batcher.submit
        self.reject_early = self.batcher.reject_early

    @property
    def is_healthy(self) -> bool:
        """Whether requests are accepted."""
        return self.batcher.is_healthy

    async def close(self, drain_s: float) -> None:
        """Refuse new requests, wait until the accepted ones are finished, and stop the engine threads.

        A thread that is still in a call stops when the call ends. That is not waited for.

        Args:
            drain_s: Requests that are not finished after this time fail.
        """
        await self.batcher.close(drain_s)
        for threads in (self._threads, self._bulk_threads):
            threads.shutdown(wait=False, cancel_futures=True)

    async def _call(self, windows: list[bytes]) -> Sequence[WindowForecast]:
        """Run one engine call where that blocks the least."""
        batcher, forecaster = self.batcher, self._forecaster
        if forecaster.engine.is_on_device:
            return await self._loop.run_in_executor(self._threads, forecaster.forecast_packed, windows)
        if len(windows) == 1 == batcher.windows_in_flight and batcher.throughput.windows_per_s > INLINE_WINDOWS_PER_S:
            return forecaster.forecast_packed(windows)
        threads = self._bulk_threads if batcher.is_bulk else self._threads
        batch = forecaster.preprocess(windows)
        return forecaster.postprocess(batch, await self._loop.run_in_executor(threads, forecaster.infer, batch))


ServedModel = LoadedModel[ModelRunner]
ModelRegistry = Registry[ModelRunner]
