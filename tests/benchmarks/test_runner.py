import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from benchmarks.measurements import Measurement
from benchmarks.runner import BenchmarkRunner, RunPlan, format_measurement, rotate, select_scenarios
from benchmarks.servers.catalog import own_servers
from benchmarks.servers.spec import LOAD_SCENARIOS, RequestFormat, ServerSpec
from benchmarks.windows import WindowPool

# Returns the forecasts that the request contains, times FACTOR, so it needs no network.
SERVER = """
import json, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        body = json.dumps([each * FACTOR for each in content]).encode()
        self.send_response(STATUS)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *arguments): pass
ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""

MakeServer = Callable[..., ServerSpec]


@pytest.fixture
def make_server(pool: WindowPool) -> MakeServer:
    forecasts = {tuple(prices): forecast for prices, forecast in zip(pool.prices, pool.forecasts, strict=True)}
    request_format = RequestFormat("/", lambda prices: [forecasts[tuple(window)] for window in prices], list)

    def make(name: str, factor: float = 1, status: int = 200) -> ServerSpec:
        script = SERVER.replace("FACTOR", str(factor)).replace("STATUS", str(status))
        return ServerSpec(
            name, name, "peer", lambda port: [sys.executable, "-c", script, str(port)], request_format,
            batch_format=request_format, start_timeout_s=20, scenarios=("1", "16", "batch-1"), checked_windows=4,
        )  # fmt: skip

    return make


def run(
    pool: WindowPool, directory: Path, *servers: ServerSpec, rounds: int = 1, budget_s: float = 60
) -> list[Measurement]:
    plan = RunPlan(servers, LOAD_SCENARIOS, rounds, 0.05, 0, "asyncio", budget_s)
    return BenchmarkRunner(plan, pool, directory, lambda measurement: None).run()


@pytest.mark.slow
def test_correct_server_is_measured_and_leaves_no_process(
    pool: WindowPool, make_server: MakeServer, tmp_path: Path
) -> None:
    before = set(psutil.Process().children(recursive=True))
    measurements = run(pool, tmp_path, make_server("correct"))
    expected = [(scenario, None) for scenario in ("start", "1", "16", "batch-1")]
    assert [(each.scenario, each.failure) for each in measurements] == expected
    batch = measurements[3].figures
    assert batch["windows_per_s"] == pytest.approx(256 * batch["requests_per_s"])
    assert measurements[0].figures["rss_mib"] > 0
    assert set(psutil.Process().children(recursive=True)) == before


@pytest.mark.slow
def test_server_with_wrong_forecasts_fails_once(pool: WindowPool, make_server: MakeServer, tmp_path: Path) -> None:
    [failed] = run(pool, tmp_path, make_server("wrong", factor=1.01), rounds=2)
    assert failed.scenario == "start"
    assert "wrong forecast" in str(failed.failure)


@pytest.mark.slow
def test_failure_of_exited_server_has_its_output(pool: WindowPool, make_server: MakeServer, tmp_path: Path) -> None:
    broken = replace(make_server("broken"), command=lambda port: [sys.executable, "-c", "raise SystemExit('no model')"])
    [failed] = run(pool, tmp_path, broken)
    assert "no model" in str(failed.failure)


def test_no_server_starts_after_the_budget(pool: WindowPool, make_server: MakeServer, tmp_path: Path) -> None:
    [failed] = run(pool, tmp_path, make_server("late"), budget_s=-1)
    assert failed.failure == "no time was left"


def test_unavailable_server_is_not_started(pool: WindowPool, make_server: MakeServer, tmp_path: Path) -> None:
    assert run(pool, tmp_path, replace(make_server("absent"), unavailable="not installed")) == []


def test_each_round_starts_with_another_server() -> None:
    servers = own_servers()
    orders = [rotate(servers, round_number) for round_number in range(3)]
    assert len({order[0].name for order in orders}) == 3
    assert all(sorted(each.name for each in order) == sorted(each.name for each in servers) for order in orders)
    assert rotate([], 1) == []


def test_scenarios_are_selected_by_name() -> None:
    assert [scenario.name for scenario in select_scenarios(["64", "batch-2"])] == ["64", "batch-2"]
    assert select_scenarios(None) == list(LOAD_SCENARIOS)
    with pytest.raises(SystemExit, match="no such scenario: 7"):
        select_scenarios(["7"])


def test_progress_line_shows_figures_and_failures() -> None:
    assert "FAILED: 3 timeout errors" in format_measurement(Measurement(0, "ray", "64", failure="3 timeout errors"))
    assert "p50_ms 1.50" in format_measurement(Measurement(0, "ray", "64", {"p50_ms": 1.5}))
