"""`python -m benchmarks.scenarios.swap`: what clients notice when model versions are swapped under load.

Each round has two equal loads: a steady one, and one during which an admin client alternates between two versions.
Every forecast is compared with the forecast of the version that the response reports.
"""

import argparse
import asyncio
import json
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import uvloop

from app.artifact import store
from app.artifact.arrays import F64
from app.inference.forecaster import load_forecaster
from benchmarks.http_client import HttpConnection
from benchmarks.load_generator import percentile
from benchmarks.model_variants import publish_variant
from benchmarks.reporting.rounds import Figures, print_rounds
from benchmarks.servers.pricecast import running_pricecast
from benchmarks.windows import MODELS, WINDOW, random_walks

MODEL, LEVEL = "default", 80
BODIES = 512
WIDENING = 1.5  # the versions differ only in the width of their intervals
WARM_UP_S = 1.0
RELATIVE_TOLERANCE = 1e-5


@dataclass
class TrafficStats:
    """Statistics of one load."""

    latencies_ms: list[float] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)
    versions: Counter[str] = field(default_factory=Counter)
    swap_ms: list[float] = field(default_factory=list)


class VerifyingClients:
    """Clients that send batches of windows and know the correct forecasts of each version."""

    def __init__(self, url: str, models_dir: Path, windows: int) -> None:
        """Prepare the requests, and compute the forecasts of all published versions.

        Args:
            url: URL of the service.
            models_dir: Directory of the models that it serves.
            windows: Number of windows in a request.
        """
        prices = random_walks(BODIES * windows, WINDOW).reshape(BODIES, windows, WINDOW)
        self._url = f"{url}/predict/batch"
        self._bodies = [
            json.dumps({"series": [{"prices": row} for row in rows], "levels": [LEVEL]}).encode()
            for rows in prices.tolist()
        ]
        self._expected = {
            version: _lower_ends(models_dir, version, prices) for version in store.versions(models_dir, MODEL)
        }

    async def send_requests(self, connections: int, duration_s: float, stats: TrafficStats) -> None:
        """Send requests over several connections for some time, and record the outcomes."""
        until = time.perf_counter() + duration_s
        async with asyncio.TaskGroup() as group:
            for number in range(connections):
                group.create_task(self._run_one(number, connections, until, stats))

    async def _run_one(self, number: int, step: int, until: float, stats: TrafficStats) -> None:
        connection = await HttpConnection.open(self._url)
        while (sent := time.perf_counter()) < until:
            number = (number + step) % BODIES
            try:
                status, content = await connection.post(self._bodies[number])
            except (OSError, EOFError, ValueError) as error:
                stats.failures[type(error).__name__] += 1
                connection = await HttpConnection.open(self._url)
                continue
            stats.latencies_ms.append((time.perf_counter() - sent) * 1e3)
            if status != 200:
                stats.failures[str(status)] += 1
                continue
            body = json.loads(content)
            version = body["model"]["version"]
            lower = [each["intervals"][str(LEVEL)]["lower"][0] for each in body["forecasts"]]
            stats.versions[version] += 1
            is_correct = np.allclose(lower, self._expected[version][number], rtol=RELATIVE_TOLERANCE)
            stats.failures["mixed"] += not is_correct  # part of the response comes from another version
        await connection.close()


async def swap_versions(url: str, versions: list[str], swaps: int, duration_s: float, stats: TrafficStats) -> None:
    """Load the versions in turn, at even intervals."""
    connection = await HttpConnection.open(f"{url}/models/{MODEL}/load")
    started = time.perf_counter()
    for number in range(swaps):
        await asyncio.sleep(started + (number + 0.5) * duration_s / swaps - time.perf_counter())
        sent = time.perf_counter()
        status, content = await connection.post(json.dumps({"version": versions[number % len(versions)]}).encode())
        stats.swap_ms.append((time.perf_counter() - sent) * 1e3)
        if status != 200:
            stats.failures[f"swap {status}: {content[:200].decode()}"] += 1
    await connection.close()


async def _run_round(
    clients: VerifyingClients, url: str, versions: list[str], options: argparse.Namespace
) -> tuple[TrafficStats, TrafficStats]:
    steady, swapping = TrafficStats(), TrafficStats()
    await clients.send_requests(options.connections, WARM_UP_S, TrafficStats())
    await clients.send_requests(options.connections, options.seconds, steady)
    async with asyncio.TaskGroup() as group:
        group.create_task(clients.send_requests(options.connections, options.seconds, swapping))
        group.create_task(swap_versions(url, versions, options.swaps, options.seconds, swapping))
    return steady, swapping


def measure_rounds(options: argparse.Namespace) -> Iterator[Figures]:
    """Run all rounds against one server, and yield the figures of each."""
    with tempfile.TemporaryDirectory() as directory:
        models = Path(shutil.copytree(MODELS, Path(directory) / "models"))
        versions = [store.current_version(models, MODEL), publish_variant(models, MODEL, WIDENING)]
        with running_pricecast(models_dir=models, versions_served=options.versions_served) as (url, _):
            clients = VerifyingClients(url, models, options.windows)
            for _ in range(options.rounds):
                with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                    steady, swapping = runner.run(_run_round(clients, url, versions, options))
                if failures := steady.failures + swapping.failures:
                    print(dict(failures), file=sys.stderr, flush=True)
                steady_p99_ms = percentile(sorted(steady.latencies_ms), 99)
                swapping_p99_ms = percentile(sorted(swapping.latencies_ms), 99)
                yield {
                    "requests": len(swapping.latencies_ms),
                    "failures": failures.total(),
                    "swaps": len(swapping.swap_ms),
                    "swap_p50_ms": percentile(sorted(swapping.swap_ms), 50),
                    "min_answers_per_version": min(swapping.versions[version] for version in versions),
                    "steady_per_s": len(steady.latencies_ms) / options.seconds,
                    "swapping_per_s": len(swapping.latencies_ms) / options.seconds,
                    "steady_p99_ms": steady_p99_ms,
                    "swapping_p99_ms": swapping_p99_ms,
                    "p99_ratio": swapping_p99_ms / steady_p99_ms,
                }


def _lower_ends(models_dir: Path, version: str, prices: F64) -> F64:
    """Compute the lower ends of a version's intervals one step ahead.

    Args:
        models_dir: Directory of the models.
        version: Version of the model.
        prices: (BODIES, windows, WINDOW).

    Returns:
        (BODIES, windows).
    """
    artifact = store.read_version(models_dir, MODEL, version)
    quantiles = load_forecaster(artifact, "onnx").forecast(prices.reshape(-1, WINDOW))  # (BODIES * windows, H, Q)
    levels = artifact.manifest.levels
    lower: F64 = quantiles[:, 0, len(levels) - 1 - levels.index(LEVEL)].reshape(prices.shape[:2])
    return lower


def main() -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="number of rounds")
    parser.add_argument("--seconds", type=float, default=20, help="duration of each load")
    parser.add_argument("--swaps", type=int, default=20, help="version swaps during a load")
    parser.add_argument("--connections", type=int, default=64, help="concurrent connections")
    parser.add_argument("--windows", type=int, default=4, help="windows in a request")
    parser.add_argument(
        "--versions-served",
        type=int,
        default=2,
        help="versions that the service keeps loaded; with 1, each swap reads, verifies and warms a version again",
    )
    print_rounds(measure_rounds(parser.parse_args()))


if __name__ == "__main__":
    main()
