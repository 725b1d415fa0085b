"""`python -m benchmarks.micro.gpu`: the keras engine by batch size, and the service with it.

Next to each measured figure stands an upper bound of the device: its arithmetic (the speed of a large matrix product)
and its transfers (inputs and outputs between host and device, and weights read once per call). The steps of a window
have to be computed one after another, however many windows are in a call, so no call is faster than a call of one
window.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.metadata import packages_distributions, version
from pathlib import Path

import numpy as np

from app.artifact import store
from app.artifact.arrays import F32, F64
from app.artifact.store import Artifact
from app.inference.forecaster import GOLDEN_TOLERANCE, Forecaster, load_forecaster
from benchmarks import processes
from benchmarks.load_generator import LoadSpec, generate_load
from benchmarks.measurements import compute_spread
from benchmarks.micro.device import Device
from benchmarks.micro.model_cost import ModelCost
from benchmarks.servers.pricecast import running_pricecast
from benchmarks.windows import MODELS, random_walks

BATCH_SIZES = [2**power for power in range(14)]  # 1 to 8192 windows in a call
MIN_CALLS = 3
LOADS = ((1, 64), (256, 8), (1024, 8))  # series in a request, connections


def report_engine(artifact: Artifact, duration_s: float) -> Iterator[str]:
    """Measure the engine alone and the forecaster around it, and yield the report line by line.

    Args:
        artifact: Model to measure.
        duration_s: Duration of each measurement, in seconds.
    """
    started = time.perf_counter()
    keras_forecaster = load_forecaster(artifact, "keras")
    ready_s = time.perf_counter() - started
    onnx_forecaster = load_forecaster(artifact, "onnx")
    device, cost = Device.measure(), ModelCost.from_artifact(artifact)
    max_windows_per_s = device.flops_per_s / cost.flops_per_window
    manifest, engine = artifact.manifest, keras_forecaster.engine
    if not device.is_gpu:
        yield "no GPU found: these are CPU figures"
    yield f"{manifest.name}@{manifest.version} on {device.name}; {describe_software()}; ready in {ready_s:.1f} s"
    peak = device.peak_tflops or "unknown"
    yield f"matrix product: {device.flops_per_s / 1e12:.2f} TFLOP/s in float32; data sheet: {peak}"
    link, memory = device.link_bytes_per_s / 1e9, device.memory_bytes_per_s / 1e9
    yield f"copies between host and device: {link:.1f} GB/s; on the device: {memory:.1f} GB/s"
    yield (
        f"one window: {cost.flops_per_window / 1e6:.2f} MFLOP, so at most {max_windows_per_s:,.0f} windows/s; "
        f"{cost.bytes_per_window} bytes"
    )
    yield ""
    yield (
        "| windows | ms, median (range) | windows/s | of arithmetic bound | of transfer bound | over a call of 1 "
        f"| off onnx | prices to prices, 1 call at a time | {engine.concurrent_calls} concurrent calls |"
    )
    yield "|--:" * 9 + "|"
    median_s: dict[int, float] = {}
    for size in BATCH_SIZES:
        windows = random_walks(size, manifest.window)
        inputs = artifact.transform.encode(windows).inputs
        difference = relative_difference(engine.run(inputs), onnx_forecaster.engine.run(inputs))
        assert difference <= GOLDEN_TOLERANCE, f"{size} windows: Keras is off ONNX Runtime by {difference:.2g}"
        call_s = compute_spread(time_calls(partial(engine.run, inputs), duration_s))
        assert call_s is not None
        median_s[size] = call_s.median
        transfers_s = (
            size * cost.bytes_per_window / device.link_bytes_per_s + cost.bytes_per_call / device.memory_bytes_per_s
        )
        sequential, concurrent = (
            measure_forecaster(keras_forecaster, windows, threads, duration_s)
            for threads in (1, engine.concurrent_calls)
        )
        yield (
            f"| {size} | {call_s.median * 1e3:.2f} ({call_s.low * 1e3:.2f} to {call_s.high * 1e3:.2f}) "
            f"| {size / call_s.median:,.0f} | {size / call_s.median / max_windows_per_s:.1%} "
            f"| {transfers_s / call_s.median:.1%} | {call_s.median / median_s[1]:.1f} × | {difference:.0e} "
            f"| {sequential:,.0f} | {concurrent:,.0f} |"
        )
    yield ""
    best = max(median_s, key=lambda size: size / median_s[size])
    yield f"best: {best / median_s[best]:,.0f} windows/s with {best} windows in a call"
    cores = onnx_forecaster.engine.concurrent_calls
    onnx_per_s = measure_forecaster(onnx_forecaster, random_walks(64, manifest.window), cores, duration_s)
    yield f"onnx on {cores} cores of this machine, 64 windows in a call, prices to prices: {onnx_per_s:,.0f} windows/s"


def report_service(artifact: Artifact, duration_s: float, max_batch_windows: int) -> Iterator[str]:
    """Measure `python -m app` with each engine, and yield the report line by line.

    Args:
        artifact: Model to request.
        duration_s: Duration of each load, in seconds.
        max_batch_windows: Setting of the service.
    """
    yield ""
    yield f"| HTTP, max_batch_windows {max_batch_windows} | engine | requests/s | windows/s | p50 ms | p99 ms |"
    yield "|---|---" + "|--:" * 4 + "|"
    with tempfile.TemporaryDirectory() as directory:
        for name in ("keras", "onnx"):
            with running_pricecast(
                engine=name,
                default_model=artifact.manifest.name,
                max_batch_windows=max_batch_windows,
                max_queued_windows=2 * max(series * connections for series, connections in LOADS),
            ) as (url, server):
                for series, connections in LOADS:
                    bodies = Path(directory) / f"{series}"
                    bodies.write_bytes(b"\n".join(encode_requests(series, 2 * connections, artifact.manifest.window)))
                    path = "/predict" if series == 1 else "/predict/batch"
                    spec = LoadSpec(url + path, bodies, connections, duration_s, timeout_s=60)
                    generate_load("asyncio", spec)  # warm-up
                    result = generate_load("asyncio", spec)
                    assert not result.failure, f"{result.failure}:\n{server.output_tail()}"
                    yield (
                        f"| {path} with {series} series, {connections} connections | {name} "
                        f"| {result.requests_per_s:,.0f} | {result.requests_per_s * series:,.0f} "
                        f"| {result.p50_ms:.1f} | {result.p99_ms:.1f} |"
                    )


def encode_requests(series: int, count: int, window: int) -> Iterator[bytes]:
    """Encode requests whose windows all differ, because equal windows in flight are computed once.

    Args:
        series: Number of series in a request.
        count: Number of requests.
        window: Number of prices in a series.
    """
    for walks in np.split(random_walks(series * count, window), count):
        rows = [{"prices": walk} for walk in walks.tolist()]
        yield json.dumps(rows[0] if series == 1 else {"series": rows}).encode()


def relative_difference(actual: F32, expected: F32) -> float:
    """Return the largest difference, relative to the largest expected value or 1."""
    return float(np.max(np.abs(actual - expected)) / max(1.0, float(np.max(np.abs(expected)))))


def measure_forecaster(forecaster: Forecaster, windows: F64, threads: int, duration_s: float) -> float:
    """Return windows per second of a forecaster that is called concurrently, including its transform."""
    with ThreadPoolExecutor(threads) as pool:
        times_s = list(pool.map(lambda _: time_calls(lambda: forecaster.forecast(windows), duration_s), range(threads)))
    return sum(len(windows) * len(each) / sum(each) for each in times_s)


def time_calls(call: Callable[[], object], duration_s: float) -> Sequence[float]:
    """Return the durations of consecutive calls in seconds, after a warm-up call.

    Args:
        call: What to call.
        duration_s: Minimum total duration. At least MIN_CALLS calls are made.
    """
    call()
    times_s: list[float] = []
    while len(times_s) < MIN_CALLS or sum(times_s) < duration_s:
        started = time.perf_counter()
        call()
        times_s.append(time.perf_counter() - started)
    return times_s


def describe_software() -> str:
    """Return the versions of Keras and its backend."""
    import keras  # takes seconds, so only when needed

    backend = keras.backend.backend()
    distribution = next(name for name in packages_distributions()[backend] if name.startswith(backend))
    return f"Keras {keras.__version__}, {distribution} {version(distribution)}"


def main() -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="default", help="model to measure (default: default)")
    parser.add_argument(
        "--seconds", type=float, default=0.5,
        help="duration of each engine measurement; loads of the service take ten times as long (default: 0.5)",
    )  # fmt: skip
    parser.add_argument("--max-batch-windows", type=int, default=1024, help="setting of the service (default: 1024)")
    parser.add_argument("--engine-only", action="store_true", help="do not measure the service")
    parser.add_argument("--out", type=Path, help="file to write the report to")
    options = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    processes.prevent_orphans()

    artifact = store.read_version(MODELS, options.model, store.current_version(MODELS, options.model))
    parts = [report_engine(artifact, options.seconds)]
    if not options.engine_only:
        parts.append(report_service(artifact, 10 * options.seconds, options.max_batch_windows))
    lines = []
    for part in parts:
        for line in part:
            print(line, flush=True)
            lines.append(f"{line}\n")
    if options.out:
        options.out.write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
