import json
from dataclasses import replace

import pytest

from benchmarks.measurements import Measurement, Measurements
from benchmarks.reporting.goals import evaluate_goals
from benchmarks.reporting.report import RunReport, to_json, to_markdown
from benchmarks.servers.catalog import own_servers


@pytest.fixture
def report() -> RunReport:
    pricecast, *others = own_servers()
    servers = [
        pricecast,
        replace(others[1], skipped={"256": "too slow"}),
        replace(others[2], unavailable="not installed: no such file"),
    ]
    measurements = Measurements(
        [
            Measurement(0, "pricecast", "64", {"requests_per_s": 6000.0, "p50_ms": 10.04, "p99_ms": 20.0}),
            Measurement(1, "pricecast", "64", {"requests_per_s": 8000.0, "p50_ms": 10.06, "p99_ms": 21.0}),
            Measurement(0, "pricecast", "start", {"start_s": 1.0, "rss_mib": 100.0, "pss_mib": 90.0}),
            Measurement(0, "pricecast", "256", failure="wrong forecast: 1.0 instead of 2.0000"),
            Measurement(0, "engine-1x1", "1", {"windows_per_s": 7000.0, "p50_ms": 0.14}),
        ]
    )
    machine = {"date": "2026-01-01 00:00 UTC", "cores": "2"}
    versions = {"pricecast": {"python": "3.11.7"}}
    goals = evaluate_goals(measurements, servers)
    return RunReport("A run", machine, "asyncio", 2, 1.0, servers, versions, measurements, goals)


def test_server_row_has_medians_and_one_range(report: RunReport) -> None:
    [row] = [line for line in to_markdown(report).splitlines() if "(`pricecast`)" in line]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells == [
        "Pricecast (`pricecast`)", "1", "–", "–", "7,000 (6,000 to 8,000)", "10.1 / 20.5", "FAILED",
        "FAILED", "–", "1.00", "90 / 100",
    ]  # fmt: skip


def test_missing_figures_have_a_reason(report: RunReport) -> None:
    markdown = to_markdown(report)
    assert "`pricecast`, 256, round 1: FAILED: wrong forecast: 1.0 instead of 2.0000" in markdown
    assert "`uvicorn`, 256: too slow" in markdown
    assert "`fastapi-echo`: not installed: no such file" in markdown


def test_report_has_generator_machine_and_engine(report: RunReport) -> None:
    markdown = to_markdown(report)
    assert "asyncio on the same machine generates the load" in markdown
    assert "cores 2" in markdown
    assert "| 1 × session with 1 thread | 7,000 | – | – | – | – | 0.14 |" in markdown


def test_report_shows_range_of_round_counts(report: RunReport) -> None:
    assert "medians of 1 to 2 interleaved rounds" in to_markdown(report)  # the failed one does not count
    equal = Measurements(
        each for each in report.measurements.all if (each.server, each.scenario) == ("pricecast", "64")
    )
    assert "medians of 2 interleaved rounds" in to_markdown(replace(report, rounds=3, measurements=equal))
    assert "medians of 0 interleaved rounds" in to_markdown(replace(report, measurements=Measurements()))


def test_tables_are_rectangular(report: RunReport) -> None:
    for block in to_markdown(report).split("\n\n"):
        if block.startswith("|"):
            assert len({line.count("|") for line in block.splitlines()}) == 1


def test_json_has_every_figure_of_every_round(report: RunReport) -> None:
    content = json.loads(to_json(report))
    assert Measurements.from_json(content["measurements"]).all == report.measurements.all
    assert content["load_generator"] == "asyncio"
    assert content["absent"] == {"fastapi-echo": "not installed: no such file"}
    assert {goal["name"] for goal in content["targets"]} == {goal.name for goal in report.goals}
