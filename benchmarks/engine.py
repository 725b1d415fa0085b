"""`python -m benchmarks.engine`: ONNX Runtime alone, in this process, with nothing served. Prints JSON.

The ceiling of every server here: windows per second, and milliseconds of one call, by setup and windows in a call.
"""

import json
import statistics
import sys
import threading
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime as ort

from benchmarks.windows import ARTIFACT, WINDOW

SIZES = (1, 4, 16, 64, 256)  # windows in one call
WARM_CALLS = 3


@dataclass(frozen=True)
class Setup:
    """So many sessions, each called from a thread of its own and computing with so many threads."""

    name: str
    sessions: int
    threads: int


SETUPS = (Setup("engine-1x1", 1, 1), Setup("engine-1x2", 1, 2), Setup("engine-2x1", 2, 1))


def measure(setup: Setup, size: int, seconds: float) -> dict[str, float]:
    """Calls of `size` windows, side by side in all sessions, for so long."""
    inputs = np.random.default_rng(size).random((size, WINDOW, 1), dtype=np.float32)
    sessions = [_session(setup.threads) for _ in range(setup.sessions)]
    calls_s: list[list[float]] = [[] for _ in sessions]
    ready = threading.Barrier(len(sessions))

    def call(session: Any, own_calls_s: list[float]) -> None:
        feed = {session.get_inputs()[0].name: inputs}
        for _ in range(WARM_CALLS):
            session.run(None, feed)
        ready.wait()
        until = time.perf_counter() + seconds
        while (started := time.perf_counter()) < until:
            session.run(None, feed)
            own_calls_s.append(time.perf_counter() - started)

    callers = [threading.Thread(target=call, args=each) for each in zip(sessions, calls_s, strict=True)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    # Each thread by its own time: the last call of one goes on after the other has ended.
    per_s = sum(size * len(own) / sum(own) for own in calls_s)
    return {"windows_per_s": per_s, "p50_ms": statistics.median(s for own in calls_s for s in own) * 1e3}


def _session(threads: int) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    return ort.InferenceSession(ARTIFACT / "model.onnx", options, providers=["CPUExecutionProvider"])


def main() -> None:
    seconds = float(sys.argv[1])
    measured = {setup.name: {str(size): measure(setup, size, seconds) for size in SIZES} for setup in SETUPS}
    print(json.dumps(measured))


if __name__ == "__main__":
    main()
