"""`python -m benchmarks.sessions`: what the options of ONNX Runtime are worth; and OpenVINO, where it is installed.

Windows per second of the tutorial's network by windows in a call, in one process and without a server.
"""

import argparse
import importlib.util
import statistics
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime as ort

from app.engines.base import F32
from benchmarks.windows import ARTIFACT, WINDOW

MODEL = ARTIFACT / "model.onnx"
SIZES = (1, 4, 16, 32, 64, 256)

Run = Callable[[F32], Any]


def onnx(threads: int = 1, *, arena: bool = True, pattern: bool = True, **entries: str) -> Run:
    """A session with these options, ready to be called."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = arena
    options.enable_mem_pattern = pattern
    options.log_severity_level = 3
    for name, value in entries.items():
        options.add_session_config_entry(f"session.{name.replace('__', '.')}", value)
    session = ort.InferenceSession(MODEL, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda inputs: session.run(None, {name: inputs})


def openvino(precision: str, streams: int) -> Run:
    """The network compiled by OpenVINO, with a request of its own for each caller."""
    import openvino as ov

    options = {"INFERENCE_PRECISION_HINT": precision, "NUM_STREAMS": streams, "INFERENCE_NUM_THREADS": streams}
    compiled = ov.Core().compile_model(MODEL, "CPU", options)
    local = threading.local()

    def run(inputs: F32) -> Any:
        if not hasattr(local, "request"):
            local.request = compiled.create_infer_request()
        return local.request.infer([inputs])

    return run


def variants() -> dict[str, tuple[Run, int]]:
    """What is compared: how to run it, and in how many threads at once."""
    found: dict[str, tuple[Run, int]] = {
        "one session of one thread, one caller": (onnx(), 1),
        "one session of one thread, two callers (as served)": (onnx(), 2),
        "the same without an arena": (onnx(arena=False), 2),
        "the same without memory patterns": (onnx(pattern=False), 2),
        "the same with denormals as zero": (onnx(set_denormal_as_zero="1"), 2),
        "one session of two threads, spinning": (onnx(2, intra_op__allow_spinning="1"), 1),
        "one session of two threads, not spinning": (onnx(2, intra_op__allow_spinning="0"), 1),
    }
    if importlib.util.find_spec("openvino") is not None:
        found["OpenVINO float32, one caller"] = (openvino("f32", 1), 1)
        found["OpenVINO float32, two callers"] = (openvino("f32", 2), 2)
        found["OpenVINO bfloat16, two callers"] = (openvino("bf16", 2), 2)
    return found


def rate(run: Run, callers: int, inputs: F32, seconds: float) -> float:
    """Windows per second of so many threads that call without a pause."""
    done = [0] * callers
    begun = time.perf_counter()

    def work(caller: int) -> None:
        while time.perf_counter() - begun < seconds:
            run(inputs)
            done[caller] += len(inputs)

    threads = [threading.Thread(target=work, args=(caller,)) for caller in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(done) / (time.perf_counter() - begun)


def off_by(run: Run, exact: Run) -> float:
    """The largest difference of two variants' outputs, relative to the largest output."""
    inputs = np.random.default_rng(1).random((64, WINDOW, 1), dtype=np.float32)
    outputs, wanted = (np.asarray(each(inputs)[0]) for each in (run, exact))
    return float(np.abs(outputs - wanted).max() / np.abs(wanted).max())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.2, help="of each measurement")
    given = parser.parse_args()
    compared = variants()
    exact = onnx()
    found: dict[tuple[str, int], list[float]] = {}
    for _ in range(given.rounds):
        for size in SIZES:
            inputs = np.random.default_rng(size).random((size, WINDOW, 1), dtype=np.float32)
            for name, (run, callers) in compared.items():
                found.setdefault((name, size), []).append(rate(run, callers, inputs, given.seconds))
    print("| windows/s, by windows in a call | " + " | ".join(map(str, SIZES)) + " | off by |")
    print("|---" * (len(SIZES) + 2) + "|")
    for name, (run, _) in compared.items():
        medians = " | ".join(f"{statistics.median(found[name, size]):,.0f}" for size in SIZES)
        print(f"| {name} | {medians} | {off_by(run, exact):.0e} |")


if __name__ == "__main__":
    main()
