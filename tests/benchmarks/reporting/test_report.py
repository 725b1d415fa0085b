import json
from dataclasses import replace

import pytest

from benchmarks.measurements import Measurement, Measurements
from benchmarks.reporting.goals import targets
from benchmarks.reporting.report import Run, as_json, as_markdown
from benchmarks.servers.spec import own


@pytest.fixture
def run() -> Run:
    pricecast, *others = own()
    subjects = [
        pricecast,
        replace(others[1], left_out={"256": "too slow"}),
        replace(others[2], absent="not installed: no such file"),
    ]
    found = Measurements(
        [
            Measurement(0, "pricecast", "64", {"requests_per_s": 6000.0, "p50_ms": 10.04, "p99_ms": 20.0}),
            Measurement(1, "pricecast", "64", {"requests_per_s": 8000.0, "p50_ms": 10.06, "p99_ms": 21.0}),
            Measurement(0, "pricecast", "start", {"start_s": 1.0, "rss_mib": 100.0, "pss_mib": 90.0}),
            Measurement(0, "pricecast", "256", failure="a wrong forecast: 1.0, should be 2.0000"),
            Measurement(0, "engine-1x1", "1", {"windows_per_s": 7000.0, "p50_ms": 0.14}),
        ]
    )
    machine = {"date": "2026-01-01 00:00 UTC", "cores": "2"}
    versions = {"pricecast": {"python": "3.11.7"}}
    return Run("A run", machine, "asyncio", 2, 1.0, subjects, versions, found, targets(found, subjects))


def test_a_subject_is_one_line_with_medians_and_the_range_of_what_matters_most(run: Run) -> None:
    [row] = [line for line in as_markdown(run).splitlines() if "(`pricecast`)" in line]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells == [
        "Pricecast (`pricecast`)", "1", "–", "–", "7,000 (6,000 to 8,000)", "10.1 / 20.5", "FAILED",
        "FAILED", "–", "1.00", "90 / 100",
    ]  # fmt: skip


def test_what_was_not_measured_is_told_with_the_reason(run: Run) -> None:
    told = as_markdown(run)
    assert "`pricecast`, 256, round 1: FAILED: a wrong forecast: 1.0, should be 2.0000" in told
    assert "`uvicorn`, 256: too slow" in told
    assert "`fastapi-echo`: not installed: no such file" in told


def test_the_load_generator_the_machine_and_the_ceiling_are_told(run: Run) -> None:
    told = as_markdown(run)
    assert "made by asyncio" in told
    assert "cores 2" in told
    assert "| 1 × session of 1 threads | 7,000 | – | – | – | – | 0.14 |" in told


def test_the_least_and_the_most_rounds_that_were_measured_are_told(run: Run) -> None:
    assert "medians of 1 to 2 interleaved rounds" in as_markdown(run)  # the failed one does not count
    even = Measurements(each for each in run.measurements.all if (each.subject, each.cell) == ("pricecast", "64"))
    assert "medians of 2 interleaved rounds" in as_markdown(replace(run, rounds=3, measurements=even))
    assert "medians of 0 interleaved rounds" in as_markdown(replace(run, measurements=Measurements()))


def test_every_table_is_rectangular(run: Run) -> None:
    for block in as_markdown(run).split("\n\n"):
        if block.startswith("|"):
            assert len({line.count("|") for line in block.splitlines()}) == 1


def test_the_json_holds_every_figure_of_every_round(run: Run) -> None:
    content = json.loads(as_json(run))
    assert Measurements.of_json(content["measurements"]).all == run.measurements.all
    assert content["load_generator"] == "asyncio"
    assert content["absent"] == {"fastapi-echo": "not installed: no such file"}
    assert {target["name"] for target in content["targets"]} == {target.name for target in run.targets}
