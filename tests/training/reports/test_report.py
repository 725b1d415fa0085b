"""Tests of the report: its charts can be opened, and its page states the figures."""

import html
import re
import struct
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from app.artifact.evidence import Curve, Evidence, Score
from tests.training.conftest import daily_dates, make_samples, make_score, make_series
from training.data.simulator import random_walk
from training.evaluation.backtest import Backtest
from training.evaluation.scoring import score_backtest
from training.evaluation.summary import summarize
from training.reports import report
from training.reports.plot_style import BASELINE, MODEL
from training.reports.score_tables import detail_tables, overview_table

pytestmark = pytest.mark.slow

CHARTS = {"real-vs-predicted.png", "error.png", "loss.png"}
LEVEL_CHARTS = {"fan.png", "coverage.png", "pit.png"}
CURVE = Curve(loss=[0.5, 0.4, 0.35], validation=[0.6, 0.45, 0.5], best=1)
GOOD = make_score(instrument="good", skill=0.1, skill_p_value=0.001, rmse=1.8, copy_ratio=0.3)
QUANTILES, LEVELS = [0.025, 0.1, 0.5, 0.9, 0.975], [80, 95]


def make_last_price_backtest(
    *, dated: bool = True, levels: bool = True, name: str = "made", rows: int = 260, horizon: int = 2
) -> Backtest:
    """Backtest a forecaster of the last price, with or without intervals around it."""
    prices = random_walk(1, rows, 1)[0].prices
    samples = make_samples(make_series(prices, name, daily_dates("2020-01-01", rows) if dated else None), 60, horizon)
    around = np.array([0.98, 0.99, 1.0, 1.01, 1.02]) if levels else np.ones(1)
    forecasts = np.repeat(samples.windows[:, -1:, None], horizon, axis=1) * around
    return Backtest(samples, forecasts, QUANTILES if levels else [0.5], LEVELS if levels else [])


def make_evidence(backtests: list[Backtest]) -> Evidence:
    return summarize([row for test in backtests for row in score_backtest(test)], is_centered_on_last_price=False)


def write_page(directory: Path, scores: list[Score], *, is_centered_on_last_price: bool = False) -> str:
    """Write a report of these scores and return its page."""
    evidence = summarize(scores, is_centered_on_last_price=is_centered_on_last_price)
    report.write_report(directory, "quick", "plain", [make_last_price_backtest()], CURVE, evidence)
    return read_page(directory)


def png_size(picture: Path) -> tuple[int, int]:
    """Return width and height, from the header of a PNG file."""
    head = picture.read_bytes()[:24]
    assert head.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", head[16:])
    return width, height


def read_page(directory: Path) -> str:
    return (directory / "report.html").read_text(encoding="utf-8")


@pytest.fixture
def no_charts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip writing charts, for tests that read the page only."""
    monkeypatch.setattr(report, "save_png", lambda *_: None)


@pytest.mark.parametrize(("dated", "levels"), [(True, True), (False, False)], ids=["dated, levels", "neither"])
def test_write_report_writes_page_and_charts(tmp_path: Path, dated: bool, levels: bool) -> None:
    backtests = [make_last_price_backtest(dated=dated, levels=levels, name=name) for name in ("made", "other")]
    evidence = make_evidence(backtests)
    report.write_report(tmp_path, "quick", "a description", backtests, CURVE, evidence)
    charts = CHARTS | (LEVEL_CHARTS if levels else set())
    assert {path.name for path in tmp_path.iterdir()} == {*charts, "report.html"}
    for name in charts:
        width, height = png_size(tmp_path / name)
        assert width == 1100
        assert height >= 300
    written = read_page(tmp_path)
    assert written.index(html.escape(evidence.summary)) < written.index("<h2>")
    for table in [overview_table(evidence.scores), *detail_tables(evidence.scores)]:
        assert table.to_html() in written
    assert ("Coverage by volatility" in written) is levels
    assert set(re.findall(r'src="([^"]*)"', written)) == charts


def test_write_report_fewer_forecasts_than_close_up(tmp_path: Path) -> None:
    backtests = [make_last_price_backtest(rows=64)]
    assert len(backtests[0].samples) == 3
    report.write_report(tmp_path, "quick", "few", backtests, CURVE, make_evidence(backtests))
    assert png_size(tmp_path / "real-vs-predicted.png")


def test_write_report_training_without_validation(tmp_path: Path) -> None:
    backtests = [make_last_price_backtest(levels=False)]
    curve = Curve(loss=[0.5], validation=[], best=0)
    report.write_report(tmp_path, "quick", "unvalidated", backtests, curve, make_evidence(backtests))
    assert png_size(tmp_path / "loss.png")


def test_write_report_constant_prices(tmp_path: Path) -> None:
    """The error of repeating the last price is 0, so there is no ratio to it."""
    samples = make_samples(make_series(np.full(70, 7.75)), 60, 1)
    backtests = [Backtest(samples, samples.windows[:, -1:, None], [0.5], [])]
    report.write_report(tmp_path, "quick", "pegged", backtests, CURVE, make_evidence(backtests))
    assert png_size(tmp_path / "error.png")


@pytest.mark.usefixtures("no_charts")
def test_write_report_escapes_names_and_description(tmp_path: Path) -> None:
    backtests = [make_last_price_backtest(name="<i>A&B</i>")]
    report.write_report(
        tmp_path,
        "<b>quick</b>",
        'says "x" & <script>alert(1)</script> {title}',
        backtests,
        CURVE,
        make_evidence(backtests),
    )
    written = read_page(tmp_path)
    assert "<script" not in written
    assert "<b>" not in written
    assert "<i>" not in written
    assert "&lt;script&gt;alert(1)&lt;/script&gt; {title}" in written
    assert written.count("&lt;b&gt;quick&lt;/b&gt;") == 2  # the title and the heading
    assert "&lt;i&gt;A&amp;B&lt;/i&gt;" in written


@pytest.mark.usefixtures("no_charts")
def test_write_report_page_is_well_formed_and_self_contained(tmp_path: Path) -> None:
    backtests = [make_last_price_backtest()]
    report.write_report(tmp_path, "quick", "plain", backtests, CURVE, make_evidence(backtests))
    opened: list[str] = []

    class Checker(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            if tag not in {"meta", "img", "!doctype"}:
                opened.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert opened.pop() == tag

    Checker().feed(read_page(tmp_path))
    assert opened == []
    assert "http" not in read_page(tmp_path)


@pytest.mark.usefixtures("no_charts")
def test_write_report_names_lagged_copies(tmp_path: Path) -> None:
    lagged = make_score(instrument="late & later", skill=-0.1, rmse=2.2, correlation_last=0.99, copy_ratio=1.2)
    page = write_page(tmp_path, [lagged, GOOD])
    assert (
        "For late &amp; later, the forecasts are a lagged copy of the price: they follow it one step late "
        "(correlations: late &amp; later: 0.9900 with the last price, 0.9000 with the next)."
    ) in page
    assert (
        "For good, the forecasts are not a lagged copy of the price. "
        "On average, they are 30% as far from the last price as the real prices are."
    ) in page


@pytest.mark.usefixtures("no_charts")
def test_write_report_without_lagged_copy_names_none(tmp_path: Path) -> None:
    assert "follow it one step late" not in write_page(tmp_path, [GOOD])


@pytest.mark.usefixtures("no_charts")
def test_write_report_color_depends_on_skill(tmp_path: Path) -> None:
    colors = {}
    for skill in (0.1, -0.1):
        page = write_page(tmp_path, [make_score(skill=skill, skill_p_value=0.001)])
        colors[skill] = re.findall(r"4px solid (#\w+)", page)
    assert colors == {0.1: [MODEL], -0.1: [BASELINE]}


def test_write_report_name_with_dollar_signs(tmp_path: Path) -> None:
    backtests = [make_last_price_backtest(name="US$_^ per EUR$", rows=70)]
    report.write_report(tmp_path, "quick", "plain", backtests, CURVE, make_evidence(backtests))
    assert png_size(tmp_path / "real-vs-predicted.png")
    assert png_size(tmp_path / "error.png")


@pytest.mark.usefixtures("no_charts")
def test_write_report_names_repeated_last_price(tmp_path: Path) -> None:
    page = write_page(tmp_path, [make_score()], is_centered_on_last_price=True)
    assert "For made, the median repeats the last price, so it forecasts no direction (copy ratio 0)." in page


@pytest.mark.usefixtures("no_charts")
def test_write_report_without_curve_has_no_training_section(tmp_path: Path) -> None:
    backtests = [make_last_price_backtest()]
    report.write_report(tmp_path, "quick", "plain", backtests, None, make_evidence(backtests))
    assert "loss.png" not in read_page(tmp_path)
