"""Closed-loop load generator: each of a fixed number of connections sends its next request after the last response.

It runs wrk if wrk is installed, because wrk takes the least processor time from the server. Otherwise it uses an
asyncio client. Both cycle through a file of request bodies, so that no two requests in flight are equal as long as
there are more bodies than connections.
"""

import asyncio
import json
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Literal

from benchmarks.http_client import HttpConnection

SCRIPT = Path(__file__).with_name("load_generator.lua")
WRK_OVERHEAD_S = 15.0  # time that wrk may take to start, read the bodies and report
RECONNECT_DELAY_S = 0.01  # keeps a refused connection from being retried in a busy loop

Generator = Literal["wrk", "asyncio"]


@dataclass(frozen=True)
class LoadSpec:
    """A load to generate.

    Attributes:
        url: Where requests are posted.
        bodies: File of JSON request bodies, one per line.
        connections: Number of concurrent connections.
        duration_s: Duration of the load, in seconds.
        timeout_s: Timeout of a request, in seconds. A timeout counts as an error.
    """

    url: str
    bodies: Path
    connections: int
    duration_s: float
    timeout_s: float


@dataclass(frozen=True)
class LoadResult:
    """The outcome of a load. Latencies run from the last byte sent to the last byte received.

    Attributes:
        duration_s: Duration of the load, in seconds.
        requests: Number of responses received.
        p50_ms: Median latency, in milliseconds.
        p90_ms: 90th percentile.
        p99_ms: 99th percentile.
        max_ms: Maximum.
        errors: Number of errors by kind; kinds that did not occur are missing.
    """

    duration_s: float
    requests: int
    p50_ms: float
    p90_ms: float
    p99_ms: float
    max_ms: float
    errors: dict[str, int]

    @property
    def requests_per_s(self) -> float:
        """Throughput."""
        return self.requests / self.duration_s

    @property
    def failure(self) -> str | None:
        """The reason why this result must not be used, or None if it may be."""
        if self.errors:
            return ", ".join(f"{count} {kind} errors" for kind, count in self.errors.items())
        return None if self.requests else "no request was answered"


def choose_generator(requested: Generator | None) -> Generator:
    """Return the requested generator, or by default wrk if it is installed and asyncio otherwise.

    Raises:
        FileNotFoundError: wrk was requested but is not installed.
    """
    if requested == "wrk" and not shutil.which("wrk"):
        raise FileNotFoundError("wrk is not installed")
    return requested or ("wrk" if shutil.which("wrk") else "asyncio")


def generate_load(generator: Generator, spec: LoadSpec) -> LoadResult:
    """Generate a load, and return when it is over."""
    return _run_wrk(spec) if generator == "wrk" else asyncio.run(_run_asyncio(spec))


def parse_wrk_output(output: str) -> LoadResult:
    """Parse the line of JSON that load_generator.lua makes wrk print.

    Raises:
        ValueError: There is no such line.
    """
    lines = [line for line in output.splitlines() if line.startswith("{")]
    if not lines:
        raise ValueError(f"wrk printed no result: {output.strip()[-500:]}")
    raw = json.loads(lines[-1])
    return LoadResult(
        duration_s=raw["duration_us"] / 1e6,
        requests=raw["requests"],
        p50_ms=raw["p50_us"] / 1e3,
        p90_ms=raw["p90_us"] / 1e3,
        p99_ms=raw["p99_us"] / 1e3,
        max_ms=raw["max_us"] / 1e3,
        errors={kind: count for kind, count in raw["errors"].items() if count},
    )


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Return a percentile of sorted values, without interpolation."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def _run_wrk(spec: LoadSpec) -> LoadResult:
    command = [
        "wrk", "-t1", f"-c{spec.connections}", f"-d{max(1, round(spec.duration_s))}s", "--latency",
        "--timeout", f"{round(spec.timeout_s)}s", "--script", str(SCRIPT), spec.url, "--", str(spec.bodies),
    ]  # fmt: skip
    timeout_s = spec.duration_s + spec.timeout_s + WRK_OVERHEAD_S
    completed = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    return parse_wrk_output(completed.stdout + completed.stderr)


async def _run_asyncio(spec: LoadSpec) -> LoadResult:
    clients = _Clients(spec)
    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(spec.connections):
            group.create_task(clients.run_one(until=started + spec.duration_s))
    ordered = sorted(clients.latencies_ms) or [0.0]
    return LoadResult(
        duration_s=spec.duration_s,
        requests=len(clients.latencies_ms),
        p50_ms=percentile(ordered, 50),
        p90_ms=percentile(ordered, 90),
        p99_ms=percentile(ordered, 99),
        max_ms=ordered[-1],
        errors=dict(clients.errors),
    )


class _Clients:
    """The clients of one load, one per connection, and their common statistics."""

    def __init__(self, spec: LoadSpec) -> None:
        self.latencies_ms: list[float] = []
        self.errors: Counter[str] = Counter()
        self._spec = spec
        self._bodies = cycle(spec.bodies.read_bytes().splitlines())

    async def run_one(self, until: float) -> None:
        """Send requests over one connection, and reconnect after an error."""
        while time.perf_counter() < until:
            try:
                async with asyncio.timeout(self._spec.timeout_s):
                    connection = await HttpConnection.open(self._spec.url)
            except (OSError, TimeoutError):
                self.errors["connect"] += 1
                await asyncio.sleep(RECONNECT_DELAY_S)
                continue
            try:
                await self._send_requests(connection, until)
            except TimeoutError:
                self.errors["timeout"] += 1
            except (OSError, EOFError, ValueError):
                self.errors["read"] += 1
            finally:
                await connection.close()

    async def _send_requests(self, connection: HttpConnection, until: float) -> None:
        while (sent := time.perf_counter()) < until:
            async with asyncio.timeout(self._spec.timeout_s):
                status, _ = await connection.post(next(self._bodies))
            if status != 200:
                self.errors["status"] += 1
            if (received := time.perf_counter()) <= until:
                self.latencies_ms.append((received - sent) * 1e3)
