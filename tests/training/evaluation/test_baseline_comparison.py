"""Baselines beside a model: on the same origins, fitted on the first fitting_half, scored on the second."""

from dataclasses import replace

import numpy as np
import pytest

from app.evaluation import baselines, scores
from tests.training.conftest import gaussian_forecaster, make_backtest, make_samples, make_series
from training.data import blocks, simulator
from training.data.simulator import autoregressive, random_walk
from training.evaluation import backtest, baseline_comparison
from training.evaluation.backtest import Backtest
from training.evaluation.baseline_comparison import BaselineComparison, fitting_half
from training.recipe import Split


def test_the_half_to_fit_on_and_the_origins_to_score_share_no_price_that_is_forecast() -> None:
    test = make_backtest(random_walk(1, 800, 1)[0], horizon=5)
    fitted_on = fitting_half(test)
    assert fitted_on is not None
    assert fitted_on.rows == 400
    assert fitted_on.futures[-1, -1] == test.samples.series.prices[399]
    assert test.samples.futures[fitted_on.start, 0] == test.samples.series.prices[400]
    assert len(fitted_on.windows) == 400 - 60 - 5 + 1
    assert fitted_on.windows[0, 0] == test.samples.series.prices[0]


def test_a_block_in_the_second_half_is_scored_whole() -> None:
    series = random_walk(1, 800, 1)[0]
    block = blocks.split_in_time([series], Split(test=0.2), 60, 1).test[0]
    fitted_on = fitting_half(backtest.run_backtest(gaussian_forecaster(), block, [0.5], []))
    assert fitted_on is not None
    assert fitted_on.start == 0
    assert fitted_on.rows == 400


def test_nothing_is_fitted_where_there_is_too_little_or_no_logarithm_or_no_series() -> None:
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
    _, judged = blocks.split_blocks([], paths, Split(test=0.2), 60, 1)
    assert fitting_half(backtest.run_backtest(gaussian_forecaster(), judged.test[0], [0.5], [])) is None
    negative = make_samples(make_series(prices - 100), 60, 1)
    assert fitting_half(Backtest(negative, negative.windows[:, -1:, None], [0.5], [])) is None


def test_a_median_beside_the_point_baselines() -> None:
    """That knows what was planted: as good as those that can learn it, better than those that cannot."""
    series = autoregressive(1, 3000, 1, 0.4)[0]
    samples = make_samples(series, 60, 1)
    last, before = samples.windows[:, -1], samples.windows[:, -2]
    test = Backtest(samples, (last * (last / before) ** 0.4)[:, None, None], [0.5], [])
    rows = {row.baseline: row for row in BaselineComparison(test).points(1)}
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
    loss, other = ((np.log(each / samples.futures[:, 0])) ** 2 for each in (test.median[:, 0], last))
    assert rows["last price"].rmse_ratio == pytest.approx(np.sqrt(loss.mean() / other.mean()))


def test_quantiles_beside_the_interval_baselines() -> None:
    test = make_backtest(random_walk(1, 900, 1)[0], [50, 80, 95], horizon=5)
    for h in (1, 5):
        rows = {row.baseline: row for row in BaselineComparison(test).intervals(h)}
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
        lower, upper = (side[:, h - 1] for side in test.interval(95))
        wide = scores.winkler(lower, upper, outcome, 95) / last
        its_wide = scores.winkler(walk[:, 0], walk[:, -1], outcome, 95) / last
        assert row.winkler_ratio["95"] == pytest.approx(wide.mean() / its_wide.mean())
        assert row.winkler_ratio.keys() == {"50", "80", "95"}
        for row in rows.values():
            assert row.low <= row.pinball_ratio <= row.high
            assert 0.9 < row.pinball_ratio < 1.1


def test_garch_is_better_where_volatility_is_one() -> None:
    """Of clustered volatility a model that knows none of it should lose to GARCH, and GARCH win over the past's."""
    rng = np.random.default_rng(1)
    variance, returns = 1.0, []
    for shock in rng.standard_normal(4000):
        returns.append(np.sqrt(variance) * shock)
        variance = 0.05 + 0.25 * returns[-1] ** 2 + 0.7 * variance
    series = make_series(np.exp(np.cumsum(returns) / 100))
    test = make_backtest(series, [80, 95])
    flat = replace(test, forecasts=test.last[:, None, None] * np.exp(0.01 * np.array([-1.96, -1.28, 0, 1.28, 1.96])))
    (garch,) = (row for row in BaselineComparison(flat).intervals(1) if row.baseline == "GARCH-t")
    assert garch.low > 1
    assert garch.p_value is not None
    assert garch.p_value > 0.99


def test_a_median_without_levels_has_no_interval_baselines() -> None:
    assert BaselineComparison(make_backtest(random_walk(1, 300, 1)[0], [])).intervals(1) == []


@pytest.mark.parametrize("still", ["all", "the first half", "the second half"])
def test_prices_that_stand_still_are_compared(still: str) -> None:
    prices = random_walk(1, 800, 1)[0].prices.copy()
    prices[{"all": slice(None), "the first half": slice(400), "the second half": slice(400, None)}[still]] = 100.0
    test = make_backtest(make_series(prices), [80])
    found = BaselineComparison(test)
    assert len(found.points(1)) == 5
    names = [row.baseline for row in found.intervals(1)]
    assert ("GARCH-t" in names) == (still == "the second half")


def test_what_is_too_short_is_compared_with_what_needs_no_fitting() -> None:
    found = BaselineComparison(make_backtest(random_walk(1, 100, 1)[0]))
    assert [row.baseline for row in found.points(1)] == ["last price", "mean of 20"]
    assert [row.baseline for row in found.intervals(1)] == ["historical volatility", "EWMA volatility"]
    assert baseline_comparison.LEAST == 100
