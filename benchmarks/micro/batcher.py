"""`python -m benchmarks.micro.batcher`: the batcher's own overhead, in µs of processor time.

The batcher calls an engine that computes nothing, so only the batcher and the event loop take time. The event loop's
part is measured separately, with callers that wait for a plain future, and subtracted. Processor time is used because
it depends less than elapsed time on what else the machine does.
"""

import argparse
import asyncio
import gc
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import uvloop

from app.serving.batcher import Batcher
from benchmarks.measurements import Spread, compute_spread

GOAL_US = 10.0  # per request
REPEATS = 15
WINDOW_BYTES = 60 * 8
DEADLINE_S = 30.0
MAX_BATCH_WINDOWS = 256

Engine = Callable[[list[bytes]], Awaitable[Sequence[bytes]]]
Submit = Callable[[Sequence[bytes]], Awaitable[object]]


async def return_at_once(items: list[bytes]) -> Sequence[bytes]:
    """Return the windows as results, without yielding to the event loop."""
    return items


async def return_next_iteration(items: list[bytes]) -> Sequence[bytes]:
    """Return the windows as results in the next iteration of the event loop."""
    await asyncio.sleep(0)
    return items


@dataclass(frozen=True)
class BatcherLoad:
    """Rounds of concurrent requests. The figure is per request, or per window if requests have several."""

    name: str
    rounds: int
    concurrent: int = 1
    windows: int = 1
    deadline_s: float | None = None

    @property
    def unit(self) -> str:
        """Unit of the figure."""
        return "µs a request" if self.windows == 1 else "µs a window"


ENGINES: dict[str, Engine] = {"at once": return_at_once, "an iteration later": return_next_iteration}
LOADS = (
    BatcherLoad("1 request at a time", rounds=2000),
    BatcherLoad("64 requests at a time, each with a deadline", rounds=50, concurrent=64, deadline_s=DEADLINE_S),
    BatcherLoad("1 request of 256 windows", rounds=20, windows=256),
)
LOOP_FACTORIES: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "uvloop": uvloop.new_event_loop,
    "asyncio": asyncio.new_event_loop,
}


def submit_to_future(iterations: int) -> Submit:
    """Return a stand-in for the batcher that only waits for a future.

    Args:
        iterations: Iterations of the event loop until the future has its result, 1 or 2.
    """
    loop = asyncio.get_running_loop()

    async def submit(items: Sequence[bytes]) -> object:
        future: asyncio.Future[Sequence[bytes]] = loop.create_future()
        if iterations == 1:
            loop.call_soon(future.set_result, items)
        else:
            loop.call_soon(loop.call_soon, future.set_result, items)
        return await future

    return submit


def submit_to_batcher(engine: Engine, deadline_s: float | None) -> Submit:
    """Return the `submit` method of a new batcher, configured like the server's but without callbacks."""
    batcher = Batcher(
        engine, concurrent_calls=1, max_batch_windows=MAX_BATCH_WINDOWS, max_queued_windows=16 * MAX_BATCH_WINDOWS
    )
    return lambda items: batcher.submit(items, deadline_s)


async def measure_us(submit: Submit, load: BatcherLoad) -> float:
    """Measure the processor time of a load, in µs per request or window."""
    # New objects each time, as in the server: Python caches the hash of a bytes object.
    rounds = [
        [[os.urandom(WINDOW_BYTES) for _ in range(load.windows)] for _ in range(load.concurrent)]
        for _ in range(load.rounds)
    ]
    gc.collect()
    started = time.process_time_ns()
    for requests in rounds:
        if load.concurrent == 1:
            await submit(requests[0])
        else:
            await asyncio.gather(*[submit(items) for items in requests])
    return (time.process_time_ns() - started) / 1000 / (load.rounds * load.concurrent * load.windows)


async def measure_overhead(engine: Engine, load: BatcherLoad, repeats: int) -> tuple[Spread, Spread]:
    """Measure the batcher's overhead and the event loop's part, in µs per request or window."""
    batcher_us, loop_us = [], []
    for _ in range(repeats):
        loop_us.append(await measure_us(submit_to_future(1 if engine is return_at_once else 2), load))
        batcher_us.append(await measure_us(submit_to_batcher(engine, load.deadline_s), load) - loop_us[-1])
    batcher, loop = compute_spread(batcher_us), compute_spread(loop_us)
    assert batcher is not None
    assert loop is not None
    return batcher, loop


def main() -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=REPEATS, help=f"number of repeats (default: {REPEATS})")
    repeats = parser.parse_args().repeats
    print(f"medians of {repeats} repeats (range); goal: less than {GOAL_US:g} µs a request")
    for loop_name, loop_factory in LOOP_FACTORIES.items():
        for engine_name, engine in ENGINES.items():
            for load in LOADS:
                with asyncio.Runner(loop_factory=loop_factory) as runner:
                    batcher, loop = runner.run(measure_overhead(engine, load, repeats))
                print(
                    f"{loop_name:8} call returns {engine_name:19} {load.name:44} {batcher.median:6.2f} {load.unit:12} "
                    f"({batcher.low:.2f} to {batcher.high:.2f}; event loop {loop.median:.2f})"
                )


if __name__ == "__main__":
    main()
