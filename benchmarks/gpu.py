"""`python -m benchmarks.gpu`: the keras engine on the device that is here, by windows in a call, and then behind HTTP.

Beside what was measured stands what no engine could pass on this device: its arithmetic (what a large product reaches),
its transfers (inputs and outputs to the device and back, weights read once a call) and the steps of a window, which
follow each other however many windows go abreast: a call of 1 takes little else, and none takes less.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib.metadata import packages_distributions, version
from itertools import pairwise
from pathlib import Path

import numpy as np

from app.artifact import store
from app.artifact.store import Artifact
from app.artifact.transform import F64
from app.inference.engines.base import F32
from app.inference.forecaster import GOLDEN_TOLERANCE, Forecaster, load_forecaster
from benchmarks import processes
from benchmarks.device import Device
from benchmarks.load import Order, make
from benchmarks.measurements import Spread, spread
from benchmarks.service import pricecast
from benchmarks.windows import random_walks

MODELS = Path(__file__).parent.parent / "models"
SIZES = [2**power for power in range(14)]  # 1 to 8192 windows in a call
LEAST_CALLS = 3
LOADS = ((1, 64), (256, 8), (1024, 8))  # series in a request, connections


@dataclass(frozen=True)
class Work:
    """What a window asks of a device, and what a call does beside, however many windows it has."""

    flops: int
    bytes: int
    bytes_per_call: int

    @classmethod
    def of(cls, artifact: Artifact) -> "Work":
        """Of the products alone: what is done gate by gate is a hundredth of them."""
        manifest = artifact.manifest
        steps, features = artifact.transform.input_shape(manifest.window)
        outputs = manifest.horizon * len(manifest.quantiles)
        recurrent = [features, *manifest.network.units]
        dense = [recurrent[-1], *filter(None, [manifest.network.head]), outputs]
        weights = sum(4 * units * (below + units) for below, units in pairwise(recurrent))
        return cls(
            flops=2 * (steps * weights + sum(below * above for below, above in pairwise(dense))),
            bytes=4 * (steps * features + outputs),
            bytes_per_call=4 * manifest.network.parameters,
        )


def engine(artifact: Artifact, seconds: float) -> Iterator[str]:
    """The lines of the report on the engine and the forecaster around it."""
    began = time.perf_counter()
    ours = load_forecaster(artifact, "keras")
    ready_s = time.perf_counter() - began
    onnx = load_forecaster(artifact, "onnx")
    device, work = Device.measured(), Work.of(artifact)
    arithmetic = device.flops_per_s / work.flops
    if not device.gpu:
        yield "no GPU here: these are CPU figures; the GPU is unmeasured"
    served = f"{artifact.manifest.name}@{artifact.manifest.version}"
    yield f"{served} on {device.name}; {software()}; ready in {ready_s:.1f} s"
    yield f"product: {device.flops_per_s / 1e12:.2f} TFLOP/s in float32; data sheet: {device.peak_tflops or 'unknown'}"
    link, memory = device.link_bytes_per_s / 1e9, device.memory_bytes_per_s / 1e9
    yield f"to the device and back: {link:.1f} GB/s; on it: {memory:.1f} GB/s"
    yield f"a window: {work.flops / 1e6:.2f} MFLOP, so at most {arithmetic:,.0f} windows/s; {work.bytes} bytes"
    yield ""
    yield (
        "| windows | ms, median (least to most) | windows/s | of arithmetic | of transfers | over a call of 1 "
        f"| off onnx | prices to prices, 1 lane | {ours.engine.concurrent_calls} concurrent_calls |"
    )
    yield "|--:" * 9 + "|"
    medians: dict[int, float] = {}
    for size in SIZES:
        windows = random_walks(size, artifact.manifest.window)
        inputs = artifact.transform.encode(windows).inputs
        off = difference(ours.engine.run(inputs), onnx.engine.run(inputs))
        assert off <= GOLDEN_TOLERANCE, f"{size} windows: Keras is off ONNX Runtime by {off:.2g}"
        took = calls(partial(ours.engine.run, inputs), seconds)
        medians[size] = took.median
        transfers_s = size * work.bytes / device.link_bytes_per_s + work.bytes_per_call / device.memory_bytes_per_s
        one, concurrent_calls = (
            windows_per_s(ours, windows, threads, seconds) for threads in (1, ours.engine.concurrent_calls)
        )
        yield (
            f"| {size} | {took.median * 1e3:.2f} ({took.low * 1e3:.2f} to {took.high * 1e3:.2f}) "
            f"| {size / took.median:,.0f} | {size / took.median / arithmetic:.1%} | {transfers_s / took.median:.1%} "
            f"| {took.median / medians[1]:.1f} × | {off:.0e} | {one:,.0f} | {concurrent_calls:,.0f} |"
        )
    yield ""
    best = max(medians, key=lambda size: size / medians[size])
    yield f"best: {best / medians[best]:,.0f} windows/s, {best} in a call"
    cores = onnx.engine.concurrent_calls
    beside = windows_per_s(onnx, random_walks(64, artifact.manifest.window), cores, seconds)
    yield f"onnx on this machine's {cores} cores, 64 in a call, prices to prices: {beside:,.0f} windows/s"


def service(artifact: Artifact, seconds: float, max_batch_windows: int) -> Iterator[str]:
    """The lines of the report on `python -m app`, with each engine."""
    yield ""
    yield f"| HTTP, max_batch_windows {max_batch_windows} | engine | requests/s | windows/s | p50 ms | p99 ms |"
    yield "|---|---" + "|--:" * 4 + "|"
    with tempfile.TemporaryDirectory() as directory:
        for name in ("keras", "onnx"):
            with pricecast(
                engine=name,
                default_model=artifact.manifest.name,
                max_batch_windows=max_batch_windows,
                max_queued_windows=2 * max(series * connections for series, connections in LOADS),
            ) as (url, server):
                for series, connections in LOADS:
                    bodies = Path(directory) / f"{series}"
                    bodies.write_bytes(b"\n".join(requests(series, 2 * connections, artifact.manifest.window)))
                    path = "/predict" if series == 1 else "/predict/batch"
                    order = Order(url + path, bodies, connections, seconds, timeout_s=60)
                    make("asyncio", order)  # once for nothing
                    found = make("asyncio", order)
                    assert not found.failure, f"{found.failure}:\n{server.said()}"
                    yield (
                        f"| {path} of {series}, {connections} connections | {name} | {found.requests_per_s:,.0f} "
                        f"| {found.requests_per_s * series:,.0f} | {found.p50_ms:.1f} | {found.p99_ms:.1f} |"
                    )


def requests(series: int, count: int, window: int) -> Iterator[bytes]:
    """So many bodies of so many series, no two of them alike: what is alike is computed once."""
    for walks in np.split(random_walks(series * count, window), count):
        rows = [{"prices": walk} for walk in walks.tolist()]
        yield json.dumps(rows[0] if series == 1 else {"series": rows}).encode()


def difference(ours: F32, theirs: F32) -> float:
    return float(np.max(np.abs(ours - theirs)) / max(1.0, float(np.max(np.abs(theirs)))))


def windows_per_s(forecaster: Forecaster, windows: F64, threads: int, seconds: float) -> float:
    """From prices to prices, in so many calls at once."""
    with ThreadPoolExecutor(threads) as pool:
        each = list(pool.map(lambda _: timed(lambda: forecaster.forecast(windows), seconds), range(threads)))
    return sum(len(windows) * len(own) / sum(own) for own in each)


def calls(call: Callable[[], object], seconds: float) -> Spread:
    """Seconds of a call."""
    found = spread(timed(call, seconds))
    assert found is not None
    return found


def timed(call: Callable[[], object], seconds: float) -> Sequence[float]:
    """Seconds of each of the calls made one after the other for so long, after one that does not count."""
    call()
    found: list[float] = []
    while len(found) < LEAST_CALLS or sum(found) < seconds:
        began = time.perf_counter()
        call()
        found.append(time.perf_counter() - began)
    return found


def software() -> str:
    import keras  # only here: it takes seconds

    backend = keras.backend.backend()
    installed = next(name for name in packages_distributions()[backend] if name.startswith(backend))
    return f"Keras {keras.__version__}, {installed} {version(installed)}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="default")
    parser.add_argument("--seconds", type=float, default=0.5, help="for each figure of the engine; tenfold behind HTTP")
    parser.add_argument("--max-batch-windows", type=int, default=1024, help="of the service")
    parser.add_argument("--engine-only", action="store_true", help="leave the service out")
    parser.add_argument("--out", type=Path, help="a file for what is printed")
    asked = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    processes.guard()

    artifact = store.read_version(MODELS, asked.model, store.current_version(MODELS, asked.model))
    parts = [engine(artifact, asked.seconds)]
    if not asked.engine_only:
        parts.append(service(artifact, 10 * asked.seconds, asked.max_batch_windows))
    said = []
    for part in parts:
        for line in part:
            print(line, flush=True)
            said.append(f"{line}\n")
    if asked.out:
        asked.out.write_text("".join(said), encoding="utf-8")


if __name__ == "__main__":
    main()
