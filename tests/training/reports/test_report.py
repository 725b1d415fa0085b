"""The report: pictures that can be opened, and a page that says what was measured."""

import html
import re
import struct
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from app.artifact.evidence import Curve, Evidence
from tests.training.conftest import daily_dates, make_samples, make_score, make_series
from training.data.simulator import random_walk
from training.evaluation import scoring, summary
from training.evaluation.backtest import Backtest
from training.reports import forecast_plots, report, tables
from training.reports.forecast_plots import BASELINE, MODEL

pytestmark = pytest.mark.slow

PICTURES = {"real-vs-predicted.png", "error.png", "loss.png"}
OF_LEVELS = {"fan.png", "coverage.png", "pit.png"}
CURVE = Curve(loss=[0.5, 0.4, 0.35], validation=[0.6, 0.45, 0.5], best=1)
QUANTILES, LEVELS = [0.025, 0.1, 0.5, 0.9, 0.975], [80, 95]


def a_test(
    *, dated: bool = True, levels: bool = True, name: str = "made", rows: int = 260, horizon: int = 2
) -> Backtest:
    """A backtest of the last price, with or without intervals around it."""
    prices = random_walk(1, rows, 1)[0].prices
    samples = make_samples(make_series(prices, name, daily_dates("2020-01-01", rows) if dated else None), 60, horizon)
    around = np.array([0.98, 0.99, 1.0, 1.01, 1.02]) if levels else np.ones(1)
    forecasts = np.repeat(samples.windows[:, -1:, None], horizon, axis=1) * around
    return Backtest(samples, forecasts, QUANTILES if levels else [0.5], LEVELS if levels else [])


def shown(tests: list[Backtest]) -> Evidence:
    return summary.summarize([row for test in tests for row in scoring.score_backtest(test)], held=False)


def size(picture: Path) -> tuple[int, int]:
    """Width and height, from the head of a PNG file."""
    head = picture.read_bytes()[:24]
    assert head.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", head[16:])
    return width, height


def page(folder: Path) -> str:
    return (folder / "report.html").read_text(encoding="utf-8")


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Writes no pictures, for tests that look at the page only."""
    monkeypatch.setattr(forecast_plots, "save", lambda *_: None)


@pytest.mark.parametrize(("dated", "levels"), [(True, True), (False, False)], ids=["dated, levels", "neither"])
def test_a_page_and_its_pictures_are_written(tmp_path: Path, dated: bool, levels: bool) -> None:
    tests = [a_test(dated=dated, levels=levels), a_test(dated=dated, levels=levels, name="other")]
    found = shown(tests)
    report.write_report(tmp_path, "quick", "a description", tests, CURVE, found)
    pictures = PICTURES | (OF_LEVELS if levels else set())
    assert {path.name for path in tmp_path.iterdir()} == {*pictures, "report.html"}
    for name in pictures:
        width, height = size(tmp_path / name)
        assert width == 1100
        assert height >= 300
    written = page(tmp_path)
    assert written.index(html.escape(found.summary)) < written.index("<h2>")
    for table in [tables.overview(found.scores), *tables.details(found.scores)]:
        assert tables.page(table) in written
    assert ("Coverage by volatility" in written) is levels
    assert set(re.findall(r'src="([^"]*)"', written)) == pictures


def test_fewer_forecasts_than_the_close_up_holds_are_drawn(tmp_path: Path) -> None:
    tests = [a_test(rows=64)]
    assert len(tests[0].samples) == 3
    report.write_report(tmp_path, "quick", "few", tests, CURVE, shown(tests))
    assert size(tmp_path / "real-vs-predicted.png")


def test_training_without_a_validation_block_is_drawn(tmp_path: Path) -> None:
    tests = [a_test(levels=False)]
    report.write_report(tmp_path, "quick", "unvalidated", tests, Curve(loss=[0.5], validation=[], best=0), shown(tests))
    assert size(tmp_path / "loss.png")


def test_prices_that_stand_still_are_drawn(tmp_path: Path) -> None:
    """The error against repeating the last price has no ratio there."""
    samples = make_samples(make_series(np.full(70, 7.75)), 60, 1)
    tests = [Backtest(samples, samples.windows[:, -1:, None], [0.5], [])]
    report.write_report(tmp_path, "quick", "pegged", tests, CURVE, shown(tests))
    assert size(tmp_path / "error.png")


@pytest.mark.usefixtures("undrawn")
def test_what_people_wrote_is_escaped(tmp_path: Path) -> None:
    tests = [a_test(name="<i>A&B</i>")]
    report.write_report(
        tmp_path, "<b>quick</b>", 'says "x" & <script>alert(1)</script> {title}', tests, CURVE, shown(tests)
    )
    written = page(tmp_path)
    assert "<script" not in written
    assert "<b>" not in written
    assert "<i>" not in written
    assert "&lt;script&gt;alert(1)&lt;/script&gt; {title}" in written
    assert written.count("&lt;b&gt;quick&lt;/b&gt;") == 2  # the title and the heading
    assert "&lt;i&gt;A&amp;B&lt;/i&gt;" in written


@pytest.mark.usefixtures("undrawn")
def test_the_page_is_well_formed_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    tests = [a_test()]
    report.write_report(tmp_path, "quick", "plain", tests, CURVE, shown(tests))
    opened: list[str] = []

    class Checker(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            if tag not in {"meta", "img", "!doctype"}:
                opened.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert opened.pop() == tag

    Checker().feed(page(tmp_path))
    assert opened == []
    assert "http" not in page(tmp_path)


@pytest.mark.usefixtures("undrawn")
def test_those_that_follow_the_last_price_are_named(tmp_path: Path) -> None:
    lagged = make_score(instrument="late & later", skill=-0.1, rmse=2.2, correlation_last=0.99, copy_ratio=1.2)
    good = make_score(instrument="good", skill=0.1, skill_p_value=0.001, rmse=1.8, copy_ratio=0.3)
    report.write_report(tmp_path, "quick", "plain", [a_test()], CURVE, summary.summarize([lagged, good], held=False))
    assert (
        "Those of late &amp; later follow the last price, one step late: a lagged copy "
        "(correlations: late &amp; later: 0.9900 with the last, 0.9000 with the next)."
    ) in page(tmp_path)
    assert "Those of good are no lagged copy: they go 30% as far from the last price as prices do." in page(tmp_path)


@pytest.mark.usefixtures("undrawn")
def test_where_none_follows_the_last_price_none_is_named(tmp_path: Path) -> None:
    good = make_score(instrument="good", skill=0.1, skill_p_value=0.001, rmse=1.8, copy_ratio=0.3)
    report.write_report(tmp_path, "quick", "plain", [a_test()], CURVE, summary.summarize([good], held=False))
    assert "follow the last price" not in page(tmp_path)


@pytest.mark.usefixtures("undrawn")
def test_skill_has_another_colour_than_none(tmp_path: Path) -> None:
    colours = {}
    for skill in (0.1, -0.1):
        scores = [make_score(skill=skill, skill_p_value=0.001)]
        report.write_report(tmp_path, "quick", "plain", [a_test()], CURVE, summary.summarize(scores, held=False))
        colours[skill] = re.findall(r"4px solid (#\w+)", page(tmp_path))
    assert colours == {0.1: [MODEL], -0.1: [BASELINE]}


def test_a_name_that_looks_like_a_formula_is_drawn_as_it_is(tmp_path: Path) -> None:
    tests = [a_test(name="US$_^ per EUR$", rows=70)]
    report.write_report(tmp_path, "quick", "plain", tests, CURVE, shown(tests))
    assert size(tmp_path / "real-vs-predicted.png")
    assert size(tmp_path / "error.png")


@pytest.mark.usefixtures("undrawn")
def test_a_median_that_repeats_the_last_price_is_said_to(tmp_path: Path) -> None:
    report.write_report(tmp_path, "quick", "plain", [a_test()], CURVE, summary.summarize([make_score()], held=True))
    assert "For made the median repeats the last price, and so says no direction (copy ratio 0)." in page(tmp_path)


@pytest.mark.usefixtures("undrawn")
def test_without_a_curve_there_is_no_section_about_training(tmp_path: Path) -> None:
    report.write_report(tmp_path, "quick", "plain", [a_test()], None, shown([a_test()]))
    assert "loss.png" not in page(tmp_path)
