import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from benchmarks.measurements import Measurement
from benchmarks.runner import Plan, Runner, cells_named, line, rotated
from benchmarks.servers.spec import CELLS, Request, Subject, own
from benchmarks.windows import Windows

# Answers what the request says is right, so that a right server needs no network here.
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


@pytest.fixture
def subject(windows: Windows) -> Callable[..., Subject]:
    right = {tuple(prices): forecast for prices, forecast in zip(windows.prices, windows.forecasts, strict=True)}
    request = Request("/", lambda prices: [right[tuple(window)] for window in prices], list)

    def of(name: str, factor: float = 1, status: int = 200) -> Subject:
        script = SERVER.replace("FACTOR", str(factor)).replace("STATUS", str(status))
        return Subject(
            name, name, "peer", lambda port: [sys.executable, "-c", script, str(port)], request, many=request,
            start_limit_s=20, cells=("1", "16", "batch-1"), checked_windows=4,
        )  # fmt: skip

    return of


def run(
    windows: Windows, directory: Path, *subjects: Subject, rounds: int = 1, budget_s: float = 60
) -> list[Measurement]:
    plan = Plan(subjects, CELLS, rounds, 0.05, 0, "asyncio", budget_s)
    return Runner(plan, windows, directory, lambda told: None).run()


@pytest.mark.slow
def test_a_right_server_is_measured_in_its_cells_and_leaves_nothing(
    windows: Windows, subject: Callable[..., Subject], tmp_path: Path
) -> None:
    before = set(psutil.Process().children(recursive=True))
    found = run(windows, tmp_path, subject("right"))
    assert [(each.cell, each.failure) for each in found] == [(cell, None) for cell in ("start", "1", "16", "batch-1")]
    assert found[3].figures["windows_per_s"] == pytest.approx(256 * found[3].figures["requests_per_s"])
    assert found[0].figures["rss_mib"] > 0
    assert set(psutil.Process().children(recursive=True)) == before


@pytest.mark.slow
def test_wrong_answers_are_a_failure_and_are_not_tried_again(
    windows: Windows, subject: Callable[..., Subject], tmp_path: Path
) -> None:
    [failed] = run(windows, tmp_path, subject("wrong", factor=1.01), rounds=2)
    assert failed.cell == "start"
    assert "a wrong forecast" in str(failed.failure)


@pytest.mark.slow
def test_a_server_that_ends_is_told_with_what_it_said(
    windows: Windows, subject: Callable[..., Subject], tmp_path: Path
) -> None:
    broken = replace(subject("broken"), command=lambda port: [sys.executable, "-c", "raise SystemExit('no model')"])
    [failed] = run(windows, tmp_path, broken)
    assert "no model" in str(failed.failure)


def test_nothing_is_begun_once_the_budget_is_spent(
    windows: Windows, subject: Callable[..., Subject], tmp_path: Path
) -> None:
    [failed] = run(windows, tmp_path, subject("late"), budget_s=-1)
    assert failed.failure == "no time was left"


def test_absent_subjects_are_not_begun(windows: Windows, subject: Callable[..., Subject], tmp_path: Path) -> None:
    assert run(windows, tmp_path, replace(subject("absent"), absent="not installed")) == []


def test_every_round_begins_with_another_subject() -> None:
    subjects = own()
    orders = [rotated(subjects, round_) for round_ in range(3)]
    assert len({order[0].name for order in orders}) == 3
    assert all(sorted(each.name for each in order) == sorted(each.name for each in subjects) for order in orders)
    assert rotated([], 1) == []


def test_cells_are_chosen_by_name() -> None:
    assert [cell.name for cell in cells_named(["64", "batch-2"])] == ["64", "batch-2"]
    assert cells_named(None) == list(CELLS)
    with pytest.raises(SystemExit, match="no such cell: 7"):
        cells_named(["7"])


def test_a_failure_is_as_visible_as_a_figure() -> None:
    assert "FAILED: 3 timeout errors" in line(Measurement(0, "ray", "64", failure="3 timeout errors"))
    assert "p50_ms 1.50" in line(Measurement(0, "ray", "64", {"p50_ms": 1.5}))
