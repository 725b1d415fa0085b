"""Measures servers in interleaved rounds. Each round starts, checks, loads, checks again and stops every server."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.forecast_checks import ForecastChecker
from benchmarks.load_generator import Generator, LoadSpec, generate_load
from benchmarks.measurements import Measurement, MeasurementFailed
from benchmarks.micro import engine
from benchmarks.processes import PYTHON, ROOT, RunningServer, free_port
from benchmarks.servers.spec import LOAD_SCENARIOS, LoadScenario, RequestFormat, ServerSpec
from benchmarks.windows import WindowPool

WARM_UP = LoadScenario("warm-up", 64)
WARM_UP_S = 1.0
START = "start"  # scenario under which cold start and memory are recorded


@dataclass(frozen=True)
class RunPlan:
    """What to measure, and for how long.

    Attributes:
        servers: Servers to measure.
        scenarios: Loads to put on each.
        rounds: Number of rounds.
        load_s: Duration of a load, in seconds.
        engine_call_s: Duration of the engine measurement for each batch size, in seconds. 0 skips the engine.
        generator: Load generator.
        budget_s: Time after which no further server is started, in seconds.
    """

    servers: Sequence[ServerSpec]
    scenarios: Sequence[LoadScenario]
    rounds: int
    load_s: float
    engine_call_s: float
    generator: Generator
    budget_s: float


class BenchmarkRunner:
    """Carries out a plan."""

    def __init__(
        self, plan: RunPlan, pool: WindowPool, directory: Path, on_measurement: Callable[[Measurement], None]
    ) -> None:
        """Prepare a run.

        Args:
            plan: What to measure.
            pool: Windows to send.
            directory: Temporary directory for request bodies and for files that the servers write.
            on_measurement: Called with each measurement of a server as it is made.
        """
        self._plan, self._directory, self._on_measurement = plan, directory, on_measurement
        self._checker = ForecastChecker(pool)

    def run(self) -> list[Measurement]:
        """Measure all servers. When the budget runs out, the current server is finished and the rest is skipped."""
        measurements: list[Measurement] = []
        until = time.monotonic() + self._plan.budget_s
        available = [server for server in self._plan.servers if server.unavailable is None]
        failed_to_start: set[str] = set()  # not tried again: waiting for a start timeout in each round takes too long
        for round_number in range(self._plan.rounds):
            if self._plan.engine_call_s and time.monotonic() < until:
                measurements += self._measure_engine(round_number)
            for spec in rotate(available, round_number):
                if spec.name in failed_to_start:
                    continue
                if time.monotonic() > until:
                    measurements.append(Measurement(round_number, spec.name, START, failure="no time was left"))
                    continue
                for measurement in self._measure_server(round_number, spec):
                    self._on_measurement(measurement)
                    measurements.append(measurement)
                    if measurement.scenario == START and measurement.failure:
                        failed_to_start.add(spec.name)
        return measurements

    def _measure_engine(self, round_number: int) -> Iterable[Measurement]:
        seconds = self._plan.engine_call_s
        timeout_s = 60 + 3 * seconds * len(engine.SETUPS) * len(engine.BATCH_SIZES)
        completed = subprocess.run(
            [str(PYTHON), "-m", "benchmarks.micro.engine", str(seconds)],
            cwd=ROOT, capture_output=True, text=True, timeout=timeout_s, check=True,
        )  # fmt: skip
        for setup, sizes in json.loads(completed.stdout).items():
            for size, figures in sizes.items():
                yield Measurement(round_number, setup, size, figures)

    def _measure_server(self, round_number: int, spec: ServerSpec) -> Iterable[Measurement]:
        """Start a server and measure its scenarios.

        If the start fails, it is the only measurement. If a scenario fails, the next ones are still measured.
        """
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        # Whatever servers write to their home or temporary directory is deleted with the files of the run.
        directories = {"HOME": str(self._directory), "TMPDIR": str(self._directory)}
        server = RunningServer(spec.command(port), directories | dict(spec.environment), ROOT)
        try:
            try:
                start_s = self._checker.wait_for_first_response(server, spec, url)
                self._checker.check(spec, spec.single_format, url)
                memory = server.memory_usage()
                self._put_load(spec, WARM_UP, spec.single_format, url, WARM_UP_S)
                self._checker.check(spec, spec.single_format, url)
            except MeasurementFailed as error:
                yield Measurement(round_number, spec.name, START, failure=str(error))
                return
            figures = {"start_s": start_s, "processes": float(memory.processes), "rss_mib": memory.rss_mib}
            if memory.pss_mib is not None:
                figures["pss_mib"] = memory.pss_mib
            yield Measurement(round_number, spec.name, START, figures)
            for scenario in self._plan.scenarios:
                request_format = spec.request_format(scenario)
                is_measured = scenario.name in spec.scenarios and scenario.name not in spec.skipped
                if request_format is not None and is_measured:
                    yield self._measure_scenario(round_number, spec, scenario, request_format, url)
        finally:
            server.stop()

    def _measure_scenario(
        self, round_number: int, spec: ServerSpec, scenario: LoadScenario, request_format: RequestFormat, url: str
    ) -> Measurement:
        try:
            self._checker.check(spec, request_format, url)
            figures = self._put_load(spec, scenario, request_format, url, max(self._plan.load_s, spec.min_load_s))
            # This check also waits until the server has finished requests that the load generator abandoned.
            self._checker.check(spec, request_format, url)
        except MeasurementFailed as error:
            return Measurement(round_number, spec.name, scenario.name, failure=str(error))
        return Measurement(round_number, spec.name, scenario.name, figures)

    def _put_load(
        self, spec: ServerSpec, scenario: LoadScenario, request_format: RequestFormat, url: str, load_s: float
    ) -> dict[str, float]:
        windows = scenario.windows_per_request
        bodies = self._directory / f"{spec.name}-{windows}.jsonl"
        if not bodies.exists():
            self._checker.write_bodies(bodies, request_format, windows)
        load = LoadSpec(url + request_format.path, bodies, scenario.connections, load_s, spec.request_timeout_s)
        try:
            result = generate_load(self._plan.generator, load)
        except (ValueError, subprocess.TimeoutExpired) as error:
            raise MeasurementFailed(f"the load generator failed: {error}") from None
        if result.failure and scenario is not WARM_UP:
            raise MeasurementFailed(f"{result.failure} in {result.requests} requests")
        return {
            "requests_per_s": result.requests_per_s,
            "windows_per_s": result.requests_per_s * windows,
            "p50_ms": result.p50_ms,
            "p90_ms": result.p90_ms,
            "p99_ms": result.p99_ms,
            "max_ms": result.max_ms,
            "requests": float(result.requests),
        }


def rotate(servers: Sequence[ServerSpec], round_number: int) -> list[ServerSpec]:
    """Start each round with another server, so that none always comes first or always follows the same one."""
    shift = round_number * max(1, len(servers) // 3) % len(servers) if servers else 0
    return [*servers[shift:], *servers[:shift]]


def format_measurement(measurement: Measurement) -> str:
    """Format a measurement as one line of progress output."""
    if measurement.failure:
        outcome = f"FAILED: {measurement.failure}"
    else:
        outcome = "  ".join(f"{name} {value:,.2f}" for name, value in measurement.figures.items())
    return f"round {measurement.round + 1}  {measurement.server:16} {measurement.scenario:8} {outcome}"


def select_scenarios(names: Sequence[str] | None) -> list[LoadScenario]:
    """Return the scenarios with some names, or all scenarios if no names are given.

    Raises:
        SystemExit: There is no such scenario.
    """
    if names is None:
        return list(LOAD_SCENARIOS)
    known = {scenario.name: scenario for scenario in LOAD_SCENARIOS}
    if unknown := set(names) - set(known):
        sys.exit(f"no such scenario: {', '.join(sorted(unknown))}; choose from {', '.join(known)}")
    return [known[name] for name in names]
