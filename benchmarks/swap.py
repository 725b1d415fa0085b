"""`python -m benchmarks.swap`: what users notice when model versions change under load: nothing, if all is well.

Each round has two equal loads: one with nothing else going on, and one while an administrator has two versions take
turns. Every answer is compared with what the version that it names says, window by window.
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
from app.artifact.transform import F64
from app.inference.forecaster import load_forecaster
from benchmarks.load import Connection, percentile
from benchmarks.service import Figures, pricecast, tell
from benchmarks.windows import MODELS, WINDOW, random_walks
from tests.model_variants import publish_variant

MODEL, LEVEL = "default", 80
BODIES = 512
TOLERANCE = 1e-5


@dataclass
class Seen:
    """What the users of one load saw."""

    latencies_ms: list[float] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)
    versions: Counter[str] = field(default_factory=Counter)
    swap_ms: list[float] = field(default_factory=list)


class Users:
    """Ask for batches of windows, and know what each version says of them."""

    def __init__(self, url: str, models_dir: Path, windows: int) -> None:
        prices = random_walks(BODIES * windows, WINDOW).reshape(BODIES, windows, WINDOW)
        self._url = url
        self._bodies = [
            json.dumps({"series": [{"prices": row} for row in rows], "levels": [LEVEL]}).encode()
            for rows in prices.tolist()
        ]
        self._right = {version: _lower(models_dir, version, prices) for version in store.versions(models_dir, MODEL)}

    async def ask(self, connections: int, seconds: float, seen: Seen) -> None:
        until = time.perf_counter() + seconds
        async with asyncio.TaskGroup() as group:
            for number in range(connections):
                group.create_task(self._one(number, connections, until, seen))

    async def _one(self, number: int, step: int, until: float, seen: Seen) -> None:
        connection = await Connection.to(f"{self._url}/predict/batch")
        while (sent := time.perf_counter()) < until:
            number = (number + step) % BODIES
            try:
                status, content = await connection.ask(self._bodies[number])
            except (OSError, EOFError, ValueError) as error:
                seen.failures[type(error).__name__] += 1
                connection = await Connection.to(f"{self._url}/predict/batch")
                continue
            seen.latencies_ms.append((time.perf_counter() - sent) * 1e3)
            if status != 200:
                seen.failures[str(status)] += 1
                continue
            answer = json.loads(content)
            version = answer["model"]["version"]
            lower = [each["intervals"][str(LEVEL)]["lower"][0] for each in answer["forecasts"]]
            seen.versions[version] += 1
            seen.failures["mixed"] += not np.allclose(lower, self._right[version][number], rtol=TOLERANCE)
        await connection.close()


async def take_turns(url: str, versions: list[str], times: int, seconds: float, seen: Seen) -> None:
    """Has the versions take turns, at even intervals."""
    connection = await Connection.to(f"{url}/models/{MODEL}/load")
    begun = time.perf_counter()
    for number in range(times):
        await asyncio.sleep(begun + (number + 0.5) * seconds / times - time.perf_counter())
        asked = time.perf_counter()
        status, content = await connection.ask(json.dumps({"version": versions[number % len(versions)]}).encode())
        seen.swap_ms.append((time.perf_counter() - asked) * 1e3)
        if status != 200:
            seen.failures[f"swap {status}: {content[:200].decode()}"] += 1
    await connection.close()


async def _round(users: Users, url: str, versions: list[str], options: argparse.Namespace) -> tuple[Seen, Seen]:
    calm, swapped = Seen(), Seen()
    await users.ask(options.connections, 1.0, Seen())
    await users.ask(options.connections, options.seconds, calm)
    async with asyncio.TaskGroup() as group:
        group.create_task(users.ask(options.connections, options.seconds, swapped))
        group.create_task(take_turns(url, versions, options.swaps, options.seconds, swapped))
    return calm, swapped


def measure(options: argparse.Namespace) -> Iterator[Figures]:
    """The figures of each round, all over one server."""
    with tempfile.TemporaryDirectory() as directory:
        models = Path(shutil.copytree(MODELS, Path(directory) / "models"))
        versions = [store.current_version(models, MODEL), publish_variant(models, MODEL, 1.5)]
        with pricecast(models_dir=models, versions_served=options.versions_served) as (url, _):
            users = Users(url, models, options.windows)
            for _ in range(options.rounds):
                with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                    calm, swapped = runner.run(_round(users, url, versions, options))
                if failures := calm.failures + swapped.failures:
                    print(dict(failures), file=sys.stderr, flush=True)
                still = percentile(sorted(calm.latencies_ms), 99)
                moved = percentile(sorted(swapped.latencies_ms), 99)
                yield {
                    "requests": len(swapped.latencies_ms),
                    "failures": failures.total(),
                    "swaps": len(swapped.swap_ms),
                    "swap_p50_ms": percentile(sorted(swapped.swap_ms), 50),
                    "least_by_one_version": min(swapped.versions[version] for version in versions),
                    "calm_per_s": len(calm.latencies_ms) / options.seconds,
                    "swapped_per_s": len(swapped.latencies_ms) / options.seconds,
                    "calm_p99_ms": still,
                    "swapped_p99_ms": moved,
                    "p99_over_calm": moved / still,
                }


def _lower(models_dir: Path, version: str, prices: F64) -> F64:
    """(BODIES, windows) the lower ends one step ahead, as the version says."""
    artifact = store.read_version(models_dir, MODEL, version)
    quantiles = load_forecaster(artifact, "onnx").forecast(prices.reshape(-1, WINDOW))  # (BODIES * windows, H, Q)
    levels = artifact.manifest.levels
    lower: F64 = quantiles[:, 0, len(levels) - 1 - levels.index(LEVEL)].reshape(prices.shape[:2])
    return lower


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=20, help="of each load")
    parser.add_argument("--swaps", type=int, default=20, help="in a load")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--windows", type=int, default=4, help="in a request")
    parser.add_argument(
        "--versions-served", type=int, default=2, help="1: no version waits for its turn, each swap reads and verifies"
    )
    tell(measure(parser.parse_args()))


if __name__ == "__main__":
    main()
