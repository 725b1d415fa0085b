"""`python -m benchmarks.micro.engine`: ONNX Runtime alone, in this process, with nothing served. Prints JSON.

The ceiling of every server here: windows per second, and milliseconds of one call, by setup and windows in a call.
"""

import json
import statistics
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime as ort

from app.inference.engines.base import F32
from benchmarks.windows import ARTIFACT, WINDOW

MODEL = ARTIFACT / "model.onnx"
SIZES = (1, 4, 16, 64, 256)  # windows in one call
WARM_CALLS = 3

Run = Callable[[F32], Any]


@dataclass(frozen=True)
class Setup:
    """So many sessions, each called from a thread of its own and computing with so many threads."""

    name: str
    sessions: int
    threads: int


SETUPS = (Setup("engine-1x1", 1, 1), Setup("engine-1x2", 1, 2), Setup("engine-2x1", 2, 1))


def measure(runs: Sequence[Run], size: int, seconds: float) -> dict[str, float]:
    """Calls of `size` windows for so long, each of `runs` from a thread of its own."""
    inputs = np.random.default_rng(size).random((size, WINDOW, 1), dtype=np.float32)
    calls_s: list[list[float]] = [[] for _ in runs]
    ready = threading.Barrier(len(runs))

    def call(run: Run, own_calls_s: list[float]) -> None:
        for _ in range(WARM_CALLS):
            run(inputs)
        ready.wait()
        until = time.perf_counter() + seconds
        while (started := time.perf_counter()) < until:
            run(inputs)
            own_calls_s.append(time.perf_counter() - started)

    callers = [threading.Thread(target=call, args=each) for each in zip(runs, calls_s, strict=True)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    # Each thread by its own time: the last call of one goes on after the other has ended.
    per_s = sum(size * len(own) / sum(own) for own in calls_s)
    return {"windows_per_s": per_s, "p50_ms": statistics.median(s for own in calls_s for s in own) * 1e3}


def session(threads: int = 1, *, arena: bool = True, pattern: bool = True, **entries: str) -> Run:
    """A session of ONNX Runtime with these options, ready to be called."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = arena
    options.enable_mem_pattern = pattern
    for name, value in entries.items():
        options.add_session_config_entry(f"session.{name.replace('__', '.')}", value)
    loaded = ort.InferenceSession(MODEL, options, providers=["CPUExecutionProvider"])
    name = loaded.get_inputs()[0].name
    return lambda inputs: loaded.run(None, {name: inputs})


def main() -> None:
    seconds = float(sys.argv[1])
    measured: dict[str, dict[str, dict[str, float]]] = {}
    for setup in SETUPS:
        runs = [session(setup.threads) for _ in range(setup.sessions)]
        measured[setup.name] = {str(size): measure(runs, size, seconds) for size in SIZES}
    print(json.dumps(measured))


if __name__ == "__main__":
    main()
