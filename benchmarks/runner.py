"""Measures subjects, interleaved: in each round, each is started, checked, loaded, checked again and stopped."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.load_generator import Generator, Order, answers, make
from benchmarks.measurements import Measurement
from benchmarks.micro import engine
from benchmarks.processes import Server, free_port
from benchmarks.servers.spec import CELLS, PYTHON, ROOT, Cell, Request, Subject
from benchmarks.windows import MANY, POOL, Windows

CHECK_CONNECTIONS = 16
POLL_S = 0.005  # of a server that starts: a cold start is measured as exactly as this
WARM_S = 1.0
WARM = Cell("warm", 64)
REQUESTS_OF_MANY = 64  # different ones; of 256 windows each, which are different within one request
START = "start"  # the cell that cold start and memory are filed under


class Refused(Exception):
    """The server does not run, or does not answer as it should."""


@dataclass(frozen=True)
class Plan:
    """What is measured, and for how long."""

    subjects: Sequence[Subject]
    cells: Sequence[Cell]
    rounds: int
    seconds: float  # of one load
    engine_seconds: float  # of one size of call; 0 leaves the engine out
    generator: Generator
    budget_s: float  # nothing is begun once so long has passed


class Runner:
    """Carries out a plan. All files, those that servers make too, are kept in a directory of the caller's."""

    def __init__(self, plan: Plan, windows: Windows, directory: Path, tell: Callable[[str], None]) -> None:
        self._plan, self._windows, self._directory, self._tell = plan, windows, directory, tell

    def run(self) -> list[Measurement]:
        """All measurements; what was begun before the budget was spent is finished."""
        found: list[Measurement] = []
        until = time.monotonic() + self._plan.budget_s
        present = [subject for subject in self._plan.subjects if subject.absent is None]
        broken: set[str] = set()  # did not start, and would only take its time to fail again
        for round_ in range(self._plan.rounds):
            if self._plan.engine_seconds and time.monotonic() < until:
                found += self._measured_engine(round_)
            for subject in rotated(present, round_):
                if subject.name in broken:
                    continue
                if time.monotonic() > until:
                    found.append(Measurement(round_, subject.name, START, failure="no time was left"))
                    continue
                for measurement in self._measured(round_, subject):
                    self._tell(line(measurement))
                    found.append(measurement)
                    if measurement.cell == START and measurement.failure:
                        broken.add(subject.name)
        return found

    def _measured_engine(self, round_: int) -> Iterable[Measurement]:
        seconds = self._plan.engine_seconds
        limit_s = 60 + 3 * seconds * len(engine.SETUPS) * len(engine.SIZES)
        ended = subprocess.run(
            [str(PYTHON), "-m", "benchmarks.micro.engine", str(seconds)],
            cwd=ROOT, capture_output=True, text=True, timeout=limit_s, check=True,
        )  # fmt: skip
        for setup, sizes in json.loads(ended.stdout).items():
            for size, figures in sizes.items():
                yield Measurement(round_, setup, size, figures)

    def _measured(self, round_: int, subject: Subject) -> Iterable[Measurement]:
        """The start, then each cell. A failed start is the only measurement; a failed cell leaves the next ones be."""
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        # Sockets, caches and logs that a server keeps about itself go when the run's own files go.
        homes = {"HOME": str(self._directory), "TMPDIR": str(self._directory)}
        server = Server(subject.command(port), homes | dict(subject.environment), ROOT)
        try:
            try:
                start_s = self._first_answer(server, subject, url)
                self._check(subject, subject.single, url)
                weight = server.weight()
                self._load(subject, WARM, subject.single, url, WARM_S)
                self._check(subject, subject.single, url)
            except Refused as error:
                yield Measurement(round_, subject.name, START, failure=str(error))
                return
            figures = {"start_s": start_s, "processes": float(weight.processes), "rss_mib": weight.rss_mib}
            if weight.pss_mib is not None:
                figures["pss_mib"] = weight.pss_mib
            yield Measurement(round_, subject.name, START, figures)
            for cell in self._plan.cells:
                request = subject.request(cell)
                if request is None or cell.name not in subject.cells or cell.name in subject.left_out:
                    continue
                yield self._cell(round_, subject, cell, request, url)
        finally:
            server.stop()

    def _cell(self, round_: int, subject: Subject, cell: Cell, request: Request, url: str) -> Measurement:
        try:
            self._check(subject, request, url)
            figures = self._load(subject, cell, request, url, max(self._plan.seconds, subject.least_seconds))
            self._check(subject, request, url)  # waits as well until what the load left behind is done
        except Refused as error:
            return Measurement(round_, subject.name, cell.name, failure=str(error))
        return Measurement(round_, subject.name, cell.name, figures)

    def _load(self, subject: Subject, cell: Cell, request: Request, url: str, seconds: float) -> dict[str, float]:
        bodies = self._bodies(subject, request, cell.windows)
        order = Order(url + request.path, bodies, cell.connections, seconds, subject.timeout_s)
        try:
            load = make(self._plan.generator, order)
        except (ValueError, subprocess.TimeoutExpired) as error:
            raise Refused(f"the load generator failed: {error}") from None
        if load.failure and cell is not WARM:
            raise Refused(f"{load.failure} in {load.requests} requests")
        return {
            "requests_per_s": load.requests_per_s,
            "windows_per_s": load.requests_per_s * cell.windows,
            "p50_ms": load.p50_ms,
            "p90_ms": load.p90_ms,
            "p99_ms": load.p99_ms,
            "max_ms": load.max_ms,
            "requests": float(load.requests),
        }

    def _bodies(self, subject: Subject, request: Request, windows: int) -> Path:
        """The file of bodies, written when it is first asked for."""
        path = self._directory / f"{subject.name}-{windows}.jsonl"
        if not path.exists():
            count = POOL if windows == 1 else REQUESTS_OF_MANY
            lines = [self._body(request, self._rows(number, windows)) for number in range(count)]
            path.write_bytes(b"\n".join(lines) + b"\n")
        return path

    def _rows(self, number: int, windows: int) -> slice:
        first = number * windows % POOL if windows == 1 else number * 61 % (POOL - windows)
        return slice(first, first + windows)

    def _body(self, request: Request, rows: slice) -> bytes:
        return json.dumps(request.content(self._windows.prices[rows])).encode()

    def _first_answer(self, server: Server, subject: Subject, url: str) -> float:
        """Seconds from the start of the process to its first right answer."""
        until = server.started_at + subject.start_limit_s
        rows = slice(POOL - 1, POOL)
        body = self._body(subject.single, rows)
        while time.monotonic() < until:
            if server.ended:
                raise Refused(f"the server ended:\n{server.said()}")
            try:
                [(status, answer)] = asyncio.run(answers(url + subject.single.path, [body], 1, subject.timeout_s))
            except (OSError, EOFError, ValueError, TimeoutError):
                status, answer = 0, None
            if status == 200:
                if subject.forecasts and (fault := self._fault(subject.single, rows, answer)):
                    raise Refused(fault)
                return time.monotonic() - server.started_at
            time.sleep(POLL_S)
        raise Refused(f"no answer within {subject.start_limit_s:.0f} s:\n{server.said()}")

    def _check(self, subject: Subject, request: Request, url: str) -> None:
        """Asks for the forecasts of many windows, several requests at a time, and compares each.

        Raises:
            Refused: an answer is wrong, or none.
        """
        if request is subject.single:
            rows = [slice(first, first + 1) for first in range(0, POOL, POOL // subject.checked_windows)]
        else:
            rows = [slice(first, first + MANY) for first in (0, POOL - MANY)]
        bodies = [self._body(request, each) for each in rows]
        try:
            found = asyncio.run(answers(url + request.path, bodies, CHECK_CONNECTIONS, subject.start_limit_s))
        except (OSError, EOFError, ValueError, TimeoutError) as error:
            raise Refused(f"a check was not answered: {type(error).__name__}: {error}") from None
        for each, (status, answer) in zip(rows, found, strict=True):
            if status != 200:
                raise Refused(f"a check was answered with {status}: {answer[:200]}")
            if subject.forecasts and (fault := self._fault(request, each, answer)):
                raise Refused(fault)

    def _fault(self, request: Request, rows: slice, answer: object) -> str | None:
        try:
            return self._windows.fault(rows, request.read(answer))
        except (KeyError, IndexError, TypeError, ValueError):
            return f"not an answer: {json.dumps(answer)[:200]}"


def rotated(items: Sequence[Subject], by: int) -> list[Subject]:
    """The items, beginning with another one in each round, so that none is always the first or after the same."""
    by = by * max(1, len(items) // 3) % len(items) if items else 0
    return [*items[by:], *items[:by]]


def line(measurement: Measurement) -> str:
    """One measurement, to watch a run by."""
    if measurement.failure:
        told = f"FAILED: {measurement.failure}"
    else:
        told = "  ".join(f"{name} {value:,.2f}" for name, value in measurement.figures.items())
    return f"round {measurement.round + 1}  {measurement.subject:16} {measurement.cell:8} {told}"


def cells_named(names: Sequence[str] | None) -> list[Cell]:
    """The cells of those names, or all.

    Raises:
        SystemExit: there is no such cell.
    """
    if names is None:
        return list(CELLS)
    known = {cell.name: cell for cell in CELLS}
    if unknown := set(names) - set(known):
        sys.exit(f"no such cell: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    return [known[name] for name in names]
