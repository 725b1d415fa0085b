"""Tests of baseline comparisons: same origins, fitted to the first half of a series, scored on the second."""

from dataclasses import replace

import numpy as np
import pytest

from app.evaluation import baselines, scores
from tests.training.conftest import gaussian_forecaster, make_backtest, make_samples, make_series
from training.data import simulator
from training.data.simulator import autoregressive, random_walk
from training.data.split import split_blocks, split_by_time
from training.evaluation import baseline_comparison
from training.evaluation.backtest import Backtest, run_backtest
from training.evaluation.baseline_comparison import BaselineComparison, fitting_half
from training.recipe import SplitConfig


def test_fitting_half_shares_no_future_with_scored_origins() -> None:
    test = make_backtest(random_walk(1, 800, 1)[0], horizon=5)
    half = fitting_half(test)
    assert half is not None
    assert half.rows == 400
    assert half.futures[-1, -1] == test.samples.series.prices[399]
    assert test.samples.futures[half.first_scored, 0] == test.samples.series.prices[400]
    assert len(half.windows) == 400 - 60 - 5 + 1
    assert half.windows[0, 0] == test.samples.series.prices[0]


def test_fitting_half_block_in_second_half_is_scored_whole() -> None:
    series = random_walk(1, 800, 1)[0]
    block = split_by_time([series], SplitConfig(test=0.2), 60, 1).test[0]
    half = fitting_half(run_backtest(gaussian_forecaster(), block, [0.5], []))
    assert half is not None
    assert half.first_scored == 0
    assert half.rows == 400


def test_fitting_half_unsuitable_series_is_none() -> None:
    assert fitting_half(make_backtest(random_walk(1, 317, 1)[0])) is None
    assert fitting_half(make_backtest(random_walk(1, 320, 1)[0])) is not None
    prices = random_walk(1, 800, 1)[0].prices
    test = make_backtest(make_series(prices))
    early = replace(
        test.samples,
        origins=test.samples.origins[:50],
        windows=test.samples.windows[:50],
        futures=test.samples.futures[:50],
    )
    assert fitting_half(replace(test, samples=early, forecasts=test.forecasts[:50])) is None
    paths = simulator.simulate_paths(10, 900, 1)
    _, evaluation_blocks = split_blocks([], paths, SplitConfig(test=0.2), 60, 1)
    assert fitting_half(run_backtest(gaussian_forecaster(), evaluation_blocks.test[0], [0.5], [])) is None
    negative = make_samples(make_series(prices - 100), 60, 1)
    assert fitting_half(Backtest(negative, negative.windows[:, -1:, None], [0.5], [])) is None


def test_point_baselines_of_an_ideal_forecaster() -> None:
    """A forecaster that knows the coefficient equals the baselines that can estimate it, and beats the others."""
    series = autoregressive(1, 3000, 1, 0.4)[0]
    samples = make_samples(series, 60, 1)
    last, before = samples.windows[:, -1], samples.windows[:, -2]
    test = Backtest(samples, (last * (last / before) ** 0.4)[:, None, None], [0.5], [])
    rows = {row.baseline: row for row in BaselineComparison(test).point_baselines(1)}
    assert [rows[name].origins for name in ("last price", "mean of 20")] == [2940, 2940]
    assert [rows[name].origins for name in ("drift", "AR(1)", "ridge")] == [1500, 1500, 1500]
    for name in ("last price", "mean of 20", "drift"):
        assert rows[name].rmse_ratio < rows[name].high < 1
        p_value = rows[name].p_value
        assert p_value is not None
        assert p_value < 1e-6
    assert rows["AR(1)"].rmse_ratio == pytest.approx(1, abs=0.01)
    assert 0.95 < rows["ridge"].rmse_ratio < 1.003
    for row in rows.values():
        assert row.low <= row.rmse_ratio <= row.high
    loss, other = ((np.log(each / samples.futures[:, 0])) ** 2 for each in (test.at(1).median, last))
    assert rows["last price"].rmse_ratio == pytest.approx(np.sqrt(loss.mean() / other.mean()))


def test_interval_baselines_ratios() -> None:
    test = make_backtest(random_walk(1, 900, 1)[0], [50, 80, 95], horizon=5)
    for h in (1, 5):
        rows = {row.baseline: row for row in BaselineComparison(test).interval_baselines(h)}
        assert [row.origins for row in rows.values()] == [836, 836, 446]
        outcome, last = test.samples.futures[:, h - 1], test.last
        past = baselines.historical_volatility(test.samples.windows)
        walk = baselines.random_walk(test.samples.windows, past, 5, test.quantiles)[:, h - 1]
        ours = scores.pinball_losses(test.forecasts[:, h - 1], outcome, test.quantiles, last)
        theirs = scores.pinball_losses(walk, outcome, test.quantiles, last)
        row = rows["historical volatility"]
        assert row.pinball_ratio == pytest.approx(ours.mean() / theirs.mean())
        score, other = (scores.crps(each, test.quantiles).mean() for each in (ours, theirs))
        assert row.crps_ratio == pytest.approx(score / other)
        lower, upper = test.at(h).interval(95)
        wide = scores.winkler(lower, upper, outcome, 95) / last
        its_wide = scores.winkler(walk[:, 0], walk[:, -1], outcome, 95) / last
        assert row.winkler_ratio["95"] == pytest.approx(wide.mean() / its_wide.mean())
        assert row.winkler_ratio.keys() == {"50", "80", "95"}
        for row in rows.values():
            assert row.low <= row.pinball_ratio <= row.high
            assert 0.9 < row.pinball_ratio < 1.1


def test_interval_baselines_garch_wins_on_clustered_volatility() -> None:
    """A model of constant volatility loses to GARCH where volatility is clustered."""
    rng = np.random.default_rng(1)
    variance, returns = 1.0, []
    for shock in rng.standard_normal(4000):
        returns.append(np.sqrt(variance) * shock)
        variance = 0.05 + 0.25 * returns[-1] ** 2 + 0.7 * variance
    series = make_series(np.exp(np.cumsum(returns) / 100))
    test = make_backtest(series, [80, 95])
    flat = replace(test, forecasts=test.last[:, None, None] * np.exp(0.01 * np.array([-1.96, -1.28, 0, 1.28, 1.96])))
    (garch,) = (row for row in BaselineComparison(flat).interval_baselines(1) if row.baseline == "GARCH-t")
    assert garch.low > 1
    assert garch.p_value is not None
    assert garch.p_value > 0.99


def test_interval_baselines_without_levels_is_empty() -> None:
    assert BaselineComparison(make_backtest(random_walk(1, 300, 1)[0], [])).interval_baselines(1) == []


@pytest.mark.parametrize("constant", ["all", "the first half", "the second half"])
def test_baselines_with_constant_prices(constant: str) -> None:
    prices = random_walk(1, 800, 1)[0].prices.copy()
    prices[{"all": slice(None), "the first half": slice(400), "the second half": slice(400, None)}[constant]] = 100.0
    test = make_backtest(make_series(prices), [80])
    found = BaselineComparison(test)
    assert len(found.point_baselines(1)) == 5
    names = [row.baseline for row in found.interval_baselines(1)]
    assert ("GARCH-t" in names) == (constant == "the second half")


def test_baselines_of_short_series_are_the_unfitted_ones() -> None:
    found = BaselineComparison(make_backtest(random_walk(1, 100, 1)[0]))
    assert [row.baseline for row in found.point_baselines(1)] == ["last price", "mean of 20"]
    assert [row.baseline for row in found.interval_baselines(1)] == ["historical volatility", "EWMA volatility"]
    assert baseline_comparison.MIN_SAMPLES == 100
