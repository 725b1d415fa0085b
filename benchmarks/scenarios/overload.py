"""`python -m benchmarks.scenarios.overload`: what becomes of requests when several times as many come as can be answered.

In each round the capacity is measured first: so many connections, each asking again when it is answered. Then requests
come at a multiple of that rate, whether earlier ones are answered or not, and each says how long it is ready to wait.
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

from benchmarks.load_generator import Connection, Order, make, percentile
from benchmarks.servers.pricecast import Figures, pricecast, tell
from benchmarks.windows import WINDOW, random_walks

MOST_CONNECTIONS = 512
BODIES = 256
SETTLE_S = 1.0
STALE_S = 2.0  # a server closes connections that are idle for long


@dataclass
class Flood:
    """What became of the requests that came at a fixed rate."""

    sent: int = 0
    late: int = 0  # that no connection was free for
    latencies_ms: list[float] = field(default_factory=list)  # of the accepted, from when they were due
    refused_ms: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    without_retry_after: int = 0
    errors: Counter[str] = field(default_factory=Counter)


async def flood(url: str, bodies: Sequence[bytes], per_s: float, seconds: float, deadline_ms: int) -> Flood:
    """Requests at a fixed rate, over as many connections as it takes."""
    found = Flood()
    free: list[tuple[float, Connection]] = []  # and since when; the one used last is used next
    connections = 0
    stated = f"X-Request-Timeout-Ms: {deadline_ms}\r\n" if deadline_ms else ""

    async def one(connection: Connection | None, body: bytes, due: float) -> None:
        nonlocal connections
        try:
            connection = connection or await Connection.to(url, stated)
            status, _ = await connection.ask(body)
        except (OSError, EOFError, ValueError) as error:
            found.errors[type(error).__name__] += 1
            connections -= 1
            return
        took_ms = (time.perf_counter() - due) * 1e3
        found.statuses[status] += 1
        (found.latencies_ms if status == 200 else found.refused_ms).append(took_ms)
        found.without_retry_after += status in {429, 503} and not connection.headers.get("retry-after", "").isdigit()
        free.append((time.perf_counter(), connection))

    begun = time.perf_counter()
    tasks: set[asyncio.Task[None]] = set()
    for number, body in enumerate(islice(cycle(bodies), int(per_s * seconds))):
        due = begun + number / per_s
        if (ahead := due - time.perf_counter()) > 0:
            await asyncio.sleep(ahead)
        elif number % 16 == 0:
            await asyncio.sleep(0)  # answers want to be read as well
        since, connection = free.pop() if free else (0.0, None)
        if connection is not None and time.perf_counter() - since > STALE_S:
            await connection.close()
            connection, connections = None, connections - 1
        if connection is None and connections == MOST_CONNECTIONS:
            found.late += 1
            continue
        connections += connection is None
        found.sent += 1
        task = asyncio.create_task(one(connection, body, due))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    await asyncio.gather(*tasks)
    for _, connection in free:
        await connection.close()
    return found


def measure(options: argparse.Namespace) -> Iterator[Figures]:
    """The figures of each round, all over one server."""
    with tempfile.TemporaryDirectory() as directory:
        bodies = Path(directory) / "bodies.jsonl"
        walks = random_walks(BODIES * options.windows, WINDOW).tolist()  # none alike, or they would be computed once
        starts = range(0, len(walks), options.windows)
        requests = [_body(walks[first : first + options.windows], options.model) for first in starts]
        bodies.write_bytes(b"\n".join(requests) + b"\n")
        with pricecast() as (address, server):
            url = f"{address}/predict/batch"
            for _ in range(options.rounds):
                order = Order(url, bodies, options.connections, options.capacity_seconds, 10.0)
                make("asyncio", order)  # the rates that admission predicts with are measured as well
                free = make("asyncio", order)
                before = server.weight().rss_mib
                rate = options.times * free.requests_per_s
                deadline_ms = options.deadline_ms or round(options.deadline_times * free.p99_ms)
                with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                    flooded = runner.run(flood(url, requests, rate, options.seconds, deadline_ms))
                accepted = sorted(flooded.latencies_ms) or [0.0]
                refused = sorted(flooded.refused_ms) or [0.0]
                yield {
                    "capacity_per_s": free.requests_per_s,
                    "free_p50_ms": free.p50_ms,
                    "free_p99_ms": free.p99_ms,
                    "deadline_ms": deadline_ms,
                    "offered_per_s": flooded.sent / options.seconds,
                    "accepted_per_s": len(flooded.latencies_ms) / options.seconds,
                    "accepted_over_capacity": len(flooded.latencies_ms) / options.seconds / free.requests_per_s,
                    "accepted_p50_ms": percentile(accepted, 50),
                    "accepted_p99_ms": percentile(accepted, 99),
                    "p99_over_free": percentile(accepted, 99) / free.p99_ms,
                    "refused_p50_ms": percentile(refused, 50),
                    "without_retry_after": flooded.without_retry_after,
                    "errors": flooded.errors.total(),
                    "not_sent": flooded.late,
                    "grown_mib": server.weight().rss_mib - before,
                } | {f"status_{status}": count for status, count in flooded.statuses.items()}
                time.sleep(SETTLE_S)


def _body(windows: list[list[float]], model: str | None) -> bytes:
    named = {"model": model} if model else {}
    return json.dumps({"series": [{"prices": prices} for prices in windows], **named}).encode()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=20, help="of each flood")
    parser.add_argument("--capacity-seconds", type=float, default=4)
    parser.add_argument("--times", type=float, default=4, help="the capacity")
    parser.add_argument("--windows", type=int, default=64, help="in a request")
    parser.add_argument("--model", help="the default one unless given")
    parser.add_argument("--connections", type=int, default=8, help="that measure the capacity")
    parser.add_argument("--deadline-times", type=float, default=2, help="over the uncongested p99; 0: none is stated")
    parser.add_argument("--deadline-ms", type=int, default=0, help="instead")
    tell(measure(parser.parse_args()))


if __name__ == "__main__":
    main()
