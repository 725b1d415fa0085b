"""`python -m benchmarks.sessions`: what the options of ONNX Runtime are worth; and OpenVINO, where it is installed.

Windows per second of the tutorial's network by windows in a call, in one process and without a server.
"""

import argparse
import importlib.util
import statistics
import threading
from typing import Any

import numpy as np

from app.inference.engines.base import F32
from benchmarks.micro.engine import MODEL, Run, measure, session
from benchmarks.windows import WINDOW

SIZES = (1, 4, 16, 32, 64, 256)


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
        "one session of one thread, one caller": (session(), 1),
        "one session of one thread, two callers (as served)": (session(), 2),
        "the same without an arena": (session(arena=False), 2),
        "the same without memory patterns": (session(pattern=False), 2),
        "the same with denormals as zero": (session(set_denormal_as_zero="1"), 2),
        "one session of two threads, spinning": (session(2, intra_op__allow_spinning="1"), 1),
        "one session of two threads, not spinning": (session(2, intra_op__allow_spinning="0"), 1),
    }
    if importlib.util.find_spec("openvino") is not None:
        found["OpenVINO float32, one caller"] = (openvino("f32", 1), 1)
        found["OpenVINO float32, two callers"] = (openvino("f32", 2), 2)
        found["OpenVINO bfloat16, two callers"] = (openvino("bf16", 2), 2)
    return found


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
    exact = session()
    found: dict[tuple[str, int], list[float]] = {}
    for _ in range(given.rounds):
        for size in SIZES:
            for name, (run, callers) in compared.items():
                figures = measure([run] * callers, size, given.seconds)
                found.setdefault((name, size), []).append(figures["windows_per_s"])
    print("| windows/s, by windows in a call | " + " | ".join(map(str, SIZES)) + " | off by |")
    print("|---" * (len(SIZES) + 2) + "|")
    for name, (run, _) in compared.items():
        medians = " | ".join(f"{statistics.median(found[name, size]):,.0f}" for size in SIZES)
        print(f"| {name} | {medians} | {off_by(run, exact):.0e} |")


if __name__ == "__main__":
    main()
