"""`python -m benchmarks.scenarios.overload`: how the service behaves at several times its capacity.

Each round measures the capacity with a closed-loop load: each connection sends its next request after the last
response. Then an open-loop load sends requests at a multiple of that rate without waiting for responses. Each request
has a deadline.
"""

import argparse
import asyncio
import json
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path

import uvloop

from benchmarks.http_client import HttpConnection
from benchmarks.load_generator import LoadSpec, generate_load, percentile
from benchmarks.processes import RunningServer
from benchmarks.reporting.rounds import Figures, print_rounds
from benchmarks.servers.pricecast import running_pricecast
from benchmarks.windows import WINDOW, random_walks

MAX_CONNECTIONS = 512
BODIES = 256
SETTLE_S = 1.0
CLOSED_LOOP_TIMEOUT_S = 10.0
MAX_IDLE_S = 2.0  # reconnect after this: the server closes idle connections


@dataclass
class OpenLoopResult:
    """The outcome of an open-loop load.

    Attributes:
        sent: Number of requests sent.
        not_sent: Number of requests dropped because all connections were busy.
        accepted_ms: Latencies of accepted requests, from when they were due, in milliseconds.
        rejected_ms: Latencies of rejected requests.
        statuses: Number of responses by status.
        without_retry_after: Number of 429 and 503 responses without a Retry-After header in seconds.
        errors: Number of errors by type.
    """

    sent: int = 0
    not_sent: int = 0
    accepted_ms: list[float] = field(default_factory=list)
    rejected_ms: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    without_retry_after: int = 0
    errors: Counter[str] = field(default_factory=Counter)


async def generate_open_loop_load(
    url: str, bodies: Sequence[bytes], rate_per_s: float, duration_s: float, deadline_ms: int
) -> OpenLoopResult:
    """Send requests at a fixed rate, over as many connections as this takes.

    Args:
        url: URL of the endpoint.
        bodies: Request bodies, sent in turn.
        rate_per_s: Requests per second.
        duration_s: Duration of the load, in seconds.
        deadline_ms: Deadline of each request, in milliseconds. 0 sends none.
    """
    result = OpenLoopResult()
    idle: list[tuple[float, HttpConnection]] = []  # a stack, with the time since when each is idle
    connections = 0
    deadline_header = f"X-Request-Timeout-Ms: {deadline_ms}\r\n" if deadline_ms else ""

    async def send(connection: HttpConnection | None, body: bytes, due: float) -> None:
        nonlocal connections
        try:
            connection = connection or await HttpConnection.open(url, deadline_header)
            status, _ = await connection.post(body)
        except (OSError, EOFError, ValueError) as error:
            result.errors[type(error).__name__] += 1
            connections -= 1
            return
        latency_ms = (time.perf_counter() - due) * 1e3
        result.statuses[status] += 1
        (result.accepted_ms if status == 200 else result.rejected_ms).append(latency_ms)
        has_retry_after = connection.headers.get("retry-after", "").isdigit()
        result.without_retry_after += status in {429, 503} and not has_retry_after
        idle.append((time.perf_counter(), connection))

    started = time.perf_counter()
    tasks: set[asyncio.Task[None]] = set()
    for number, body in enumerate(islice(cycle(bodies), int(rate_per_s * duration_s))):
        due = started + number / rate_per_s
        if (ahead_s := due - time.perf_counter()) > 0:
            await asyncio.sleep(ahead_s)
        elif number % 16 == 0:
            await asyncio.sleep(0)  # let the event loop read responses even when this loop is late
        idle_since, connection = idle.pop() if idle else (0.0, None)
        if connection is not None and time.perf_counter() - idle_since > MAX_IDLE_S:
            await connection.close()
            connection, connections = None, connections - 1
        if connection is None and connections == MAX_CONNECTIONS:
            result.not_sent += 1
            continue
        connections += connection is None
        result.sent += 1
        task = asyncio.create_task(send(connection, body, due))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    await asyncio.gather(*tasks)
    for _, connection in idle:
        await connection.close()
    return result


def measure_rounds(options: argparse.Namespace) -> Iterator[Figures]:
    """Run all rounds against one server, and yield the figures of each."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "bodies.jsonl"
        # No two windows are equal, because equal windows in flight are computed once.
        walks = random_walks(BODIES * options.windows, WINDOW).tolist()
        firsts = range(0, len(walks), options.windows)
        bodies = [_encode_request(walks[first : first + options.windows], options.model) for first in firsts]
        path.write_bytes(b"\n".join(bodies) + b"\n")
        with running_pricecast() as (address, server):
            url = f"{address}/predict/batch"
            for _ in range(options.rounds):
                yield _measure_round(server, url, path, bodies, options)
                time.sleep(SETTLE_S)


def _measure_round(
    server: RunningServer, url: str, path: Path, bodies: Sequence[bytes], options: argparse.Namespace
) -> Figures:
    spec = LoadSpec(url, path, options.connections, options.capacity_seconds, CLOSED_LOOP_TIMEOUT_S)
    generate_load("asyncio", spec)  # warms up, and lets the service measure the throughput it predicts delays with
    uncongested = generate_load("asyncio", spec)
    rss_mib = server.memory_usage().rss_mib
    rate_per_s = options.times * uncongested.requests_per_s
    deadline_ms = options.deadline_ms or round(options.deadline_times * uncongested.p99_ms)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        result = runner.run(generate_open_loop_load(url, bodies, rate_per_s, options.seconds, deadline_ms))
    accepted_ms = sorted(result.accepted_ms) or [0.0]
    rejected_ms = sorted(result.rejected_ms) or [0.0]
    accepted_per_s = len(result.accepted_ms) / options.seconds
    return {
        "capacity_per_s": uncongested.requests_per_s,
        "uncongested_p50_ms": uncongested.p50_ms,
        "uncongested_p99_ms": uncongested.p99_ms,
        "deadline_ms": deadline_ms,
        "offered_per_s": result.sent / options.seconds,
        "accepted_per_s": accepted_per_s,
        "accepted_over_capacity": accepted_per_s / uncongested.requests_per_s,
        "accepted_p50_ms": percentile(accepted_ms, 50),
        "accepted_p99_ms": percentile(accepted_ms, 99),
        "p99_over_uncongested": percentile(accepted_ms, 99) / uncongested.p99_ms,
        "rejected_p50_ms": percentile(rejected_ms, 50),
        "without_retry_after": result.without_retry_after,
        "errors": result.errors.total(),
        "not_sent": result.not_sent,
        "rss_growth_mib": server.memory_usage().rss_mib - rss_mib,
    } | {f"status_{status}": count for status, count in result.statuses.items()}


def _encode_request(windows: list[list[float]], model: str | None) -> bytes:
    selection = {"model": model} if model else {}
    return json.dumps({"series": [{"prices": prices} for prices in windows], **selection}).encode()


def main() -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="number of rounds")
    parser.add_argument("--seconds", type=float, default=20, help="duration of each open-loop load")
    parser.add_argument("--capacity-seconds", type=float, default=4, help="duration of each capacity measurement")
    parser.add_argument("--times", type=float, default=4, help="offered load as a multiple of the capacity")
    parser.add_argument("--windows", type=int, default=64, help="windows in a request")
    parser.add_argument("--model", help="model to request; by default the service's default model")
    parser.add_argument("--connections", type=int, default=8, help="connections that measure the capacity")
    parser.add_argument(
        "--deadline-times", type=float, default=2, help="deadline as a multiple of the uncongested p99; 0 sends none"
    )
    parser.add_argument("--deadline-ms", type=int, default=0, help="deadline in milliseconds, instead of a multiple")
    print_rounds(measure_rounds(parser.parse_args()))


if __name__ == "__main__":
    main()
