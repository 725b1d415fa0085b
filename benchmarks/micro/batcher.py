"""`python -m benchmarks.micro.batcher`: what the batcher's bookkeeping costs, in µs.

Its engine call costs nothing, so all that is left is the batcher and the loop. The loop's part is measured beside it,
each caller waiting for a bare future, and taken off. Times are of the processor, so that neighbours count for little.
"""

import argparse
import asyncio
import gc
import os
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from app.serving.batcher import Batcher
from benchmarks.measurements import Spread, spread

GOAL_US = 10.0  # a request
REPEATS = 15
WINDOW_BYTES = 60 * 8
DEADLINE_S = 30.0
MAX_BATCH_WINDOWS = 256

Engine = Callable[[list[bytes]], Awaitable[Sequence[bytes]]]
Asking = Callable[[Sequence[bytes]], Awaitable[object]]


async def at_once(items: list[bytes]) -> Sequence[bytes]:
    return items


async def a_turn_later(items: list[bytes]) -> Sequence[bytes]:
    await asyncio.sleep(0)
    return items


@dataclass(frozen=True)
class Load:
    """Rounds of so many requests at a time; the figure is of one request, or of one window where there are several."""

    name: str
    rounds: int
    concurrent: int = 1
    windows: int = 1
    deadline_s: float | None = None

    @property
    def unit(self) -> str:
        return "µs a request" if self.windows == 1 else "µs a window"


ENGINES: dict[str, Engine] = {"at once": at_once, "a turn later": a_turn_later}
LOADS = (
    Load("1 request at a time", rounds=2000),
    Load("64 requests at a time, each with a deadline", rounds=50, concurrent=64, deadline_s=DEADLINE_S),
    Load("1 request of 256 windows", rounds=20, windows=256),
)


def bare(turns: int) -> Asking:
    """A future round trip: what the loop takes by itself where an answer comes so many turns later."""
    loop = asyncio.get_running_loop()

    async def ask(items: Sequence[bytes]) -> object:
        future: asyncio.Future[Sequence[bytes]] = loop.create_future()
        if turns == 1:
            loop.call_soon(future.set_result, items)
        else:
            loop.call_soon(loop.call_soon, future.set_result, items)
        return await future

    return ask


def batched(engine: Engine, deadline_s: float | None) -> Asking:
    """A batcher as the server has it, with callbacks that do nothing."""
    batcher = Batcher(
        engine, concurrent_calls=1, max_batch_windows=MAX_BATCH_WINDOWS, max_queued_windows=16 * MAX_BATCH_WINDOWS
    )
    return lambda items: batcher.submit(items, deadline_s)


async def took_us(ask: Asking, load: Load) -> float:
    """Processor time, for each request or window."""
    rounds = [  # windows never seen before, as those of strangers are: a hash is computed once for an object
        [[os.urandom(WINDOW_BYTES) for _ in range(load.windows)] for _ in range(load.concurrent)]
        for _ in range(load.rounds)
    ]
    gc.collect()
    started = time.process_time_ns()
    for requests in rounds:
        if load.concurrent == 1:
            await ask(requests[0])
        else:
            await asyncio.gather(*[ask(items) for items in requests])
    return (time.process_time_ns() - started) / 1000 / (load.rounds * load.concurrent * load.windows)


async def measure(engine: Engine, load: Load) -> tuple[Spread, Spread]:
    """The batcher's own part, and the loop's."""
    own, loops = [], []
    for _ in range(REPEATS):
        loops.append(await took_us(bare(turns=1 if engine is at_once else 2), load))
        own.append(await took_us(batched(engine, load.deadline_s), load) - loops[-1])
    batchers, theirs = spread(own), spread(loops)
    assert batchers is not None
    assert theirs is not None
    return batchers, theirs


def loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    found: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
    if sys.platform != "win32":
        import uvloop

        found = {"uvloop": uvloop.new_event_loop} | found
    return found


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    print(f"medians of {REPEATS} repeats (least to greatest); goal: less than {GOAL_US:g} µs a request")
    for loop_name, loop_factory in loop_factories().items():
        for engine_name, engine in ENGINES.items():
            for load in LOADS:
                with asyncio.Runner(loop_factory=loop_factory) as runner:
                    own, loops = runner.run(measure(engine, load))
                print(
                    f"{loop_name:8} call ends {engine_name:12}  {load.name:44}"
                    f" {own.median:6.2f} {load.unit:12} ({own.low:.2f} to {own.high:.2f}; the loop {loops.median:.2f})"
                )


if __name__ == "__main__":
    main()
