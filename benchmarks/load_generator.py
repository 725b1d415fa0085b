"""The load generator: a fixed number of connections, each sending its next request when the last is answered.

wrk where it is installed, as it costs the machine least; else an asyncio client of our own. Both cycle through a file
of bodies, one a line, so that no two requests in flight are alike while there are more bodies than connections.
"""

import asyncio
import contextlib
import json
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

SCRIPT = Path(__file__).with_name("load_generator.lua")
GRACE_S = 15.0  # for wrk to start, read the bodies and report

Generator = Literal["wrk", "asyncio"]


@dataclass(frozen=True)
class Load:
    """What came of one load. Latencies are in milliseconds, from the last byte written to the last byte read."""

    duration_s: float
    requests: int
    p50_ms: float
    p90_ms: float
    p99_ms: float
    max_ms: float
    errors: dict[str, int]  # by kind; only those that occurred

    @property
    def requests_per_s(self) -> float:
        return self.requests / self.duration_s

    @property
    def failure(self) -> str | None:
        """Why this load is no measurement, if it is none."""
        if self.errors:
            return ", ".join(f"{count} {kind} errors" for kind, count in self.errors.items())
        return None if self.requests else "no request was answered"


@dataclass(frozen=True)
class Order:
    """A load to make."""

    url: str
    bodies: Path  # JSON documents, one a line
    connections: int
    seconds: float
    timeout_s: float  # a request unanswered for longer is an error


def choose(wanted: Generator | None) -> Generator:
    """The generator to use: the one wanted, or wrk where there is one.

    Raises:
        FileNotFoundError: wrk is wanted and not installed.
    """
    if wanted == "wrk" and not shutil.which("wrk"):
        raise FileNotFoundError("wrk is not installed")
    return wanted or ("wrk" if shutil.which("wrk") else "asyncio")


def make(generator: Generator, order: Order) -> Load:
    """Makes the load and waits until it is over."""
    return _with_wrk(order) if generator == "wrk" else asyncio.run(_with_asyncio(order))


def read_wrk(output: str) -> Load:
    """What wrk printed, by way of load_generator.lua.

    Raises:
        ValueError: the line of JSON is not there.
    """
    lines = [line for line in output.splitlines() if line.startswith("{")]
    if not lines:
        raise ValueError(f"wrk printed no result: {output.strip()[-500:]}")
    raw = json.loads(lines[-1])
    return Load(
        duration_s=raw["duration_us"] / 1e6,
        requests=raw["requests"],
        p50_ms=raw["p50_us"] / 1e3,
        p90_ms=raw["p90_us"] / 1e3,
        p99_ms=raw["p99_us"] / 1e3,
        max_ms=raw["max_us"] / 1e3,
        errors={kind: count for kind, count in raw["errors"].items() if count},
    )


def _with_wrk(order: Order) -> Load:
    command = [
        "wrk", "-t1", f"-c{order.connections}", f"-d{max(1, round(order.seconds))}s", "--latency",
        "--timeout", f"{round(order.timeout_s)}s", "--script", str(SCRIPT), order.url, "--", str(order.bodies),
    ]  # fmt: skip
    limit_s = order.seconds + order.timeout_s + GRACE_S
    ended = subprocess.run(command, capture_output=True, text=True, timeout=limit_s, check=False)
    return read_wrk(ended.stdout + ended.stderr)


async def _with_asyncio(order: Order) -> Load:
    crowd = _Crowd(order)
    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(order.connections):
            group.create_task(crowd.one(until=started + order.seconds))
    ordered = sorted(crowd.latencies_ms) or [0.0]
    return Load(
        duration_s=order.seconds,
        requests=len(crowd.latencies_ms),
        p50_ms=percentile(ordered, 50),
        p90_ms=percentile(ordered, 90),
        p99_ms=percentile(ordered, 99),
        max_ms=ordered[-1],
        errors=dict(crowd.errors),
    )


class _Crowd:
    """The connections of one load, and what they have seen."""

    def __init__(self, order: Order) -> None:
        self.latencies_ms: list[float] = []
        self.errors: Counter[str] = Counter()
        self._order = order
        self._bodies = cycle(order.bodies.read_bytes().splitlines())

    async def one(self, until: float) -> None:
        """Asks over one connection, and over a new one after an error."""
        while time.perf_counter() < until:
            try:
                async with asyncio.timeout(self._order.timeout_s):
                    connection = await Connection.to(self._order.url)
            except (OSError, TimeoutError):
                self.errors["connect"] += 1
                await asyncio.sleep(0.01)  # it may be refused at once, again and again
                continue
            try:
                await self._ask_until(connection, until)
            except TimeoutError:
                self.errors["timeout"] += 1
            except (OSError, EOFError, ValueError):
                self.errors["read"] += 1
            finally:
                await connection.close()

    async def _ask_until(self, connection: "Connection", until: float) -> None:
        while (sent := time.perf_counter()) < until:
            async with asyncio.timeout(self._order.timeout_s):
                status, _ = await connection.ask(next(self._bodies))
            if status != 200:
                self.errors["status"] += 1
            if (answered := time.perf_counter()) <= until:
                self.latencies_ms.append((answered - sent) * 1e3)


def percentile(ordered: Sequence[float], percent: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


class Connection:
    """One HTTP/1.1 connection that is kept alive. Knows just enough to ask a server on this machine."""

    def __init__(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._head, self._reader, self._writer = head, reader, writer
        self.headers: dict[str, str] = {}  # of the last answer, names in lower case

    @classmethod
    async def to(cls, url: str, more: str = "") -> "Connection":
        """Connects to the server of `url`, to POST there.

        Args:
            more: header lines, each with its end.

        Raises:
            OSError: nobody listens there.
        """
        parts = urlsplit(url)
        assert parts.hostname is not None
        assert parts.port is not None
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port, limit=2**24)
        head = f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\n{more}"
        return cls(head.encode(), reader, writer)

    async def ask(self, body: bytes) -> tuple[int, bytes]:
        """The status and the body of the answer.

        Raises:
            EOFError: the server closed the connection.
            OSError: so did the network.
            ValueError: the answer is not HTTP.
        """
        self._writer.write(self._head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        start, *lines = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        self.headers = headers
        _, code, *_ = start.split()
        status = int(code)
        if headers.get("transfer-encoding") == "chunked":
            return status, await self._chunks()
        return status, await self._reader.readexactly(int(headers.get("content-length", 0)))

    async def _chunks(self) -> bytes:
        whole = b""
        while size := int((await self._reader.readuntil(b"\r\n")).split(b";")[0], 16):
            whole += (await self._reader.readexactly(size + 2))[:-2]
        await self._reader.readuntil(b"\r\n")
        return whole

    async def close(self) -> None:
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()


async def answers(url: str, bodies: Sequence[bytes], connections: int, timeout_s: float) -> list[tuple[int, Any]]:
    """Status and JSON of the answer to each body, in order, asked over so many connections at once.

    Raises:
        OSError, EOFError, ValueError, TimeoutError: a request was not answered as HTTP and JSON.
    """
    found: list[tuple[int, Any]] = [(0, None)] * len(bodies)
    waiting = iter(enumerate(bodies))

    async def one_connection() -> None:
        connection = await Connection.to(url)
        try:
            for index, body in waiting:
                async with asyncio.timeout(timeout_s):
                    status, content = await connection.ask(body)
                found[index] = status, json.loads(content) if status == 200 else content.decode(errors="replace")
        finally:
            await connection.close()

    # gather, not a task group: the first error is raised as it is, and not wrapped in a group
    await asyncio.gather(*(one_connection() for _ in range(min(connections, len(bodies)))))
    return found
