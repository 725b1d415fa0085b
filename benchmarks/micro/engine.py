"""`python -m benchmarks.micro.engine SECONDS`: throughput of ONNX Runtime alone, in this process. Prints JSON.

No server that uses ONNX Runtime can be faster. For each setup and batch size it prints windows per second and the
median duration of a call in milliseconds. Each figure is measured for SECONDS.
"""

import argparse
import json
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime as ort

from app.artifact.arrays import F32
from benchmarks.windows import ARTIFACT, WINDOW

MODEL = ARTIFACT / "model.onnx"
BATCH_SIZES = (1, 4, 16, 64, 256)
WARM_UP_CALLS = 3

RunNetwork = Callable[[F32], Any]


@dataclass(frozen=True)
class EngineSetup:
    """A number of sessions, each called from a thread of its own, and of ONNX Runtime threads in each session."""

    name: str
    sessions: int
    threads: int


SETUPS = (EngineSetup("engine-1x1", 1, 1), EngineSetup("engine-1x2", 1, 2), EngineSetup("engine-2x1", 2, 1))


def load_session(threads: int) -> RunNetwork:
    """Load the `tutorial` network in a new session.

    Args:
        threads: Number of ONNX Runtime threads.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    session = ort.InferenceSession(MODEL, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda inputs: session.run(None, {name: inputs})


def measure_throughput(sessions: Sequence[RunNetwork], batch_size: int, duration_s: float) -> dict[str, float]:
    """Call several sessions concurrently, each from a thread of its own.

    Args:
        sessions: Sessions to call.
        batch_size: Windows in a call.
        duration_s: Duration of the measurement, in seconds.
    """
    inputs = np.random.default_rng(batch_size).random((batch_size, WINDOW, 1), dtype=np.float32)
    call_times_s: list[list[float]] = [[] for _ in sessions]
    barrier = threading.Barrier(len(sessions))

    def call_repeatedly(run: RunNetwork, times_s: list[float]) -> None:
        for _ in range(WARM_UP_CALLS):
            run(inputs)
        barrier.wait()
        until = time.perf_counter() + duration_s
        while (started := time.perf_counter()) < until:
            run(inputs)
            times_s.append(time.perf_counter() - started)

    threads = [threading.Thread(target=call_repeatedly, args=each) for each in zip(sessions, call_times_s, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Divide by each thread's own time, because threads do not finish their last calls at the same moment.
    windows_per_s = sum(batch_size * len(times_s) / sum(times_s) for times_s in call_times_s)
    p50_s = statistics.median(time_s for times_s in call_times_s for time_s in times_s)
    return {"windows_per_s": windows_per_s, "p50_ms": p50_s * 1e3}


def main() -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("seconds", type=float, metavar="SECONDS", help="duration of each measurement")
    duration_s = parser.parse_args().seconds
    figures: dict[str, dict[str, dict[str, float]]] = {}
    for setup in SETUPS:
        sessions = [load_session(setup.threads) for _ in range(setup.sessions)]
        figures[setup.name] = {str(size): measure_throughput(sessions, size, duration_s) for size in BATCH_SIZES}
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
