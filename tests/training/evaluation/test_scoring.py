"""Evidence: the figures of a backtest beside its baselines, and in which words they are summed up."""

from typing import Any

import numpy as np
import pytest

from app.artifact.evidence import Evidence, Score
from app.evaluation import baselines, scores
from tests.training.conftest import daily_dates, make_backtest, make_samples, make_score, make_series
from training.data.simulator import autoregressive, random_walk
from training.evaluation import scoring, summary
from training.evaluation.backtest import Backtest
from training.evaluation.summary import is_lagged_copy

# What the scores amount to

SKILLED = {"skill": 0.05, "skill_p_value": 0.001, "rmse": 1.95, "copy_ratio": 0.4, "correlation_next": 0.95}


def test_held_at_the_last_price_there_is_no_point_skill_whatever_the_scores() -> None:
    found = summary.summarize([make_score(**SKILLED)], held=True)
    assert found.point_skill == "none"
    assert found.summary.startswith("No point skill was found, so the median repeats the last price.")


def test_skill_beyond_chance_is_said_with_its_size() -> None:
    found = summary.summarize([make_score(**SKILLED), make_score(**SKILLED, instrument="other")], held=False)
    assert found.point_skill == "some"
    assert found.summary.startswith(
        "The median beats repeating the last price: skill 5.0%, RMSE ratio 0.975. Measured on 200 unseen steps of made,"
    )


def test_a_gain_within_chance_is_said_to_be_so() -> None:
    found = summary.summarize([make_score(skill=0.004, skill_p_value=0.3, rmse=1.99)], held=False)
    assert found.point_skill == "none"
    assert found.summary.startswith(
        "No point skill: what the median gains on repeating the last price (0.40%) is within chance."
    )


def test_a_loss_that_follows_the_last_price_is_called_a_lagged_copy() -> None:
    lagged = make_score(skill=-1.0, skill_p_value=1.0, rmse=2.9, correlation_last=0.97, correlation_next=0.9)
    found = summary.summarize([lagged], held=False)
    assert found.point_skill == "none"
    assert found.summary.startswith(
        "No point skill: the median misses by 1.45 times as much as repeating the last price, "
        "and follows it like a lagged copy."
    )


def test_a_loss_that_follows_nothing_is_not_called_a_lagged_copy() -> None:
    wild = make_score(skill=-1.0, skill_p_value=1.0, rmse=2.9, correlation_last=0.2, correlation_next=0.3)
    lagged = make_score(skill=-1.0, skill_p_value=1.0, rmse=2.9, correlation_last=0.97, correlation_next=0.9)
    for rows in ([wild], [wild, lagged]):
        sentences = summary.summarize(rows, held=False).summary
        assert sentences.startswith(
            "No point skill: the median misses by 1.45 times as much as repeating the last price."
        )


def test_a_median_that_loses_a_little_is_not_said_to_gain() -> None:
    """Better in RMSE of prices, worse in log returns: the two need not agree."""
    lost = make_score(skill=-0.002, skill_p_value=0.6, rmse=1.99, correlation_last=0.9, correlation_next=0.9)
    sentences = summary.summarize([lost], held=False).summary
    assert sentences.startswith("No point skill: the median is no better than repeating the last price. ")
    copy = lost.model_copy(update={"correlation_last": 0.95})
    assert "no better than repeating the last price, and follows it like a lagged copy." in (
        summary.summarize([copy], held=False).summary
    )


def test_is_lagged_copy_needs_both_signs() -> None:
    assert is_lagged_copy(make_score(skill=0.0, correlation_last=1.0, correlation_next=0.9))
    assert is_lagged_copy(make_score(skill=-0.1, correlation_last=0.95, correlation_next=0.9))
    assert not is_lagged_copy(make_score(skill=0.1, correlation_last=1.0, correlation_next=0.9))
    assert not is_lagged_copy(make_score(skill=-0.1, correlation_last=0.9, correlation_next=0.9))


def test_a_moving_average_is_found_to_lag() -> None:
    """Which is what networks on price levels tend to learn."""
    samples = make_samples(random_walk(1, 400, 1)[0], 60, 1)
    last, outcome = samples.windows[:, -1], samples.futures[:, 0]
    smoothed = samples.windows[:, -3:].mean(axis=1)
    (row,) = scoring.score_forecasts(Backtest(samples, smoothed[:, None, None], [0.5], []))
    assert row.correlation_last == pytest.approx(float(np.corrcoef(smoothed, last)[0, 1]))
    assert row.correlation_next == pytest.approx(float(np.corrcoef(smoothed, outcome)[0, 1]))
    assert is_lagged_copy(row)
    assert "lagged copy" in summary.summarize([row], held=False).summary


def test_intervals_of_80_and_95_are_summed_up_and_others_are_not() -> None:
    covered = {"50": 49.0, "80": 81.04, "95": 94.96}
    scores = [make_score(coverage=covered), make_score(coverage=covered | {"80": 83.0}, instrument="other", origins=40)]
    assert summary.summarize(scores, held=True).summary == (
        "No point skill was found, so the median repeats the last price. "
        "The 80% intervals held the next price 82.0% of the time. "
        "The 95% intervals held the next price 95.0% of the time. "
        "Measured on 140 unseen steps of made, other."
    )


def test_only_one_step_ahead_is_summed_up_and_all_scores_are_kept() -> None:
    later = make_score(horizon=2, skill=0.9, skill_p_value=1e-9, coverage={"80": 10.0}, origins=7)
    first = make_score(coverage={"80": 80.0})
    found = summary.summarize([first, later], held=False)
    assert isinstance(found, Evidence)
    assert found.scores == [first, later]
    assert found.point_skill == "none"
    assert "80.0%" in found.summary
    assert "Measured on 100 unseen steps of made." in found.summary


def test_instruments_that_were_not_trained_on_are_summed_up_apart() -> None:
    covered = {"50": 49.0, "80": 81.0, "95": 95.0}
    seen = make_score(coverage=covered)
    unseen = [
        make_score(coverage=covered | {"80": 70.0}, instrument="one", seen=False, origins=30),
        make_score(coverage=covered | {"80": 75.0}, instrument="two", seen=False, origins=20),
    ]
    assert summary.summarize([seen, *unseen], held=True).summary == (
        "No point skill was found, so the median repeats the last price. "
        "The 80% intervals held the next price 81.0% of the time. "
        "The 95% intervals held the next price 95.0% of the time. "
        "Measured on 100 unseen steps of made. "
        "On 50 steps of instruments that were not trained on (one, two), "
        "the 80% intervals held 72.5% and the 95% intervals held 95.0%."
    )


def test_the_loss_of_the_quantiles_beside_volatility_models_is_summed_up_by_its_median() -> None:
    def beside(**ratios: float) -> Score:
        common: dict[str, Any] = {
            "origins": 9,
            "low": 0.0,
            "high": 2.0,
            "p_value": None,
            "crps_ratio": 1.0,
            "winkler_ratio": {},
        }
        named = {"EWMA volatility": ratios.get("ewma"), "GARCH-t": ratios.get("garch"), "historical volatility": 5.0}
        return make_score(
            interval_baselines=[
                {"baseline": name, "pinball_ratio": ratio, **common} for name, ratio in named.items() if ratio
            ]
        )

    scores = [beside(ewma=0.98, garch=1.01), beside(ewma=0.99, garch=1.03), beside(ewma=1.5)]
    assert summary.summarize(scores, held=True).summary.endswith(
        "The quantiles' loss is 0.990 times that of a random walk with EWMA volatility and 1.020 times that of GARCH-t "
        "fitted to each instrument itself (medians; below 1 is better)."
    )
    alone = summary.summarize(scores[2:], held=True).summary
    assert alone.endswith("is 1.500 times that of a random walk with EWMA volatility (medians; below 1 is better).")


def test_unseen_instruments_alone_and_without_levels() -> None:
    found = summary.summarize([make_score(seen=False, rmse=2.4)], held=False)
    assert found.summary.endswith(
        "On 100 steps of instruments that were not trained on (made), "
        "the median missed by 1.20 times as much as repeating the last price."
    )
    assert "Measured on" not in found.summary


def test_figures_are_kept_to_six_digits_and_counts_whole() -> None:
    found = summary.summarize([make_score(rmse=1234.56789, skill=-1.23456789e-5, origins=1234567)], held=True)
    (score,) = found.scores
    assert (score.rmse, score.skill, score.origins) == (1234.57, -1.23457e-5, 1234567)


# All the figures of a backtest


def test_folds_are_five_consecutive_parts() -> None:
    rows = 60 + 103
    series = make_series(random_walk(1, rows, 2)[0].prices, dates=daily_dates("2020-01-01", rows))
    test = make_backtest(series)
    (score,) = scoring.score_backtest(test)
    assert [fold.origins for fold in score.folds] == [21, 20, 21, 20, 21]
    assert (score.folds[0].first_date, score.folds[-1].last_date) == (score.first_date, score.last_date)
    outcome, last = test.samples.futures[21:41, 0], test.last[21:41]
    fold = score.folds[1]
    lower, upper = (side[21:41, 0] for side in test.interval(80))
    assert fold.coverage["80"] == pytest.approx(scores.coverage(lower, upper, outcome))
    walk = baselines.ewma_random_walk(test.samples.windows[21:41], 1, test.quantiles)[:, 0]
    ours = scores.pinball(test.forecasts[21:41, 0], outcome, test.quantiles, last)
    assert fold.pinball_ratio == pytest.approx(ours / scores.pinball(walk, outcome, test.quantiles, last))
    assert [fold.skill, fold.rmse_ratio] == pytest.approx([0, 1], abs=1e-9)
    assert str(fold.first_date) == str(np.datetime64("2020-01-01") + 60 + 21)


def test_the_skill_of_a_fold_is_its_own() -> None:
    series = autoregressive(1, 60 + 500, 1, 0.6)[0]
    samples = make_samples(series, 60, 1)
    last, before = samples.windows[:, -1], samples.windows[:, -2]
    forecast = last * (last / before) ** 0.6
    forecast[:100] = last[:100] * 1.5  # a bad beginning
    (score,) = scoring.score_backtest(Backtest(samples, forecast[:, None, None], [0.5], []))
    first, *rest = score.folds
    assert first.skill < -100
    assert first.rmse_ratio > 10
    assert all(0.1 < fold.skill < 0.6 for fold in rest)
    assert all(fold.rmse_ratio < 0.95 and fold.pinball_ratio is None for fold in rest)


def test_fewer_than_five_forecasts_have_no_folds() -> None:
    for rows, folds in ((64, 0), (65, 5)):
        (score,) = scoring.score_backtest(make_backtest(random_walk(1, rows, 1)[0]))
        assert len(score.folds) == folds


def test_a_single_forecast_is_scored() -> None:
    (score,) = scoring.score_backtest(make_backtest(random_walk(1, 61, 1)[0]))
    assert score.origins == 1
    assert score.coverage_by_volatility == []
    assert summary.summarize([score], held=True).point_skill == "none"


def test_a_median_that_repeats_the_last_price_says_no_direction() -> None:
    (score,) = scoring.score_backtest(make_backtest(random_walk(1, 200, 1)[0]))
    assert score.direction is None


def test_direction_is_counted_where_one_was_said_and_the_price_moved() -> None:
    prices = np.array([10.0] * 60 + [11, 10, 10, 12, 11, 13])
    samples = make_samples(make_series(prices), 60, 1)
    said = np.array([+1, +1, +1, 0, -1, +1])  # came: up, down, none, up, down, up
    forecast = samples.windows[:, -1] + 0.5 * said
    (score,) = scoring.score_backtest(Backtest(samples, forecast[:, None, None], [0.5], []))
    assert score.direction is not None
    assert score.direction.steps == 4  # up ✓, down ✗, down ✓, up ✓
    assert score.direction.hit_rate.percent == 75
    assert 0 < score.direction.hit_rate.low < 75 < score.direction.hit_rate.high < 100
    assert score.direction.majority == 50


def test_coverage_by_volatility_is_of_equal_thirds_with_rising_volatility() -> None:
    test = make_backtest(random_walk(1, 60 + 900, 1)[0], [50, 80])
    (score,) = scoring.score_backtest(test)
    low, middle, high = score.coverage_by_volatility
    assert [third.volatility for third in (low, middle, high)] == ["low", "middle", "high"]
    assert [third.origins for third in (low, middle, high)] == [300, 300, 300]
    volatility = baselines.ewma_volatility(test.samples.windows)
    assert low.greatest < middle.greatest < high.greatest == volatility.max()
    outcome = test.samples.futures[:, 0]
    lower, upper = (side[:, 0] for side in test.interval(80))
    inside = (lower <= outcome) & (outcome <= upper)
    assert low.coverage["80"].percent == pytest.approx(100 * inside[volatility <= low.greatest].mean())
    assert score.coverage_interval["80"].percent == pytest.approx(100 * inside.mean())
    assert score.coverage_interval["80"].low < 80 < score.coverage_interval["80"].high
    shares = [third.coverage["50"].percent for third in (low, middle, high)]
    assert np.mean(shares) == pytest.approx(score.coverage["50"])


def test_every_baseline_has_a_row_at_every_horizon_that_is_scored() -> None:
    scores = scoring.score_backtest(make_backtest(random_walk(1, 800, 1)[0], horizon=6))
    assert [score.horizon for score in scores] == [1, 5, 6]
    for score in scores:
        assert [row.baseline for row in score.point_baselines] == [
            "last price",
            "mean of 20",
            "drift",
            "AR(1)",
            "ridge",
        ]
        assert [row.baseline for row in score.interval_baselines] == [
            *("historical volatility", "EWMA volatility", "GARCH-t")
        ]


@pytest.mark.parametrize("shift", [200.0, 0.0], ids=["some not positive", "all negative"])
def test_prices_without_a_logarithm_have_the_figures_that_need_none(shift: float) -> None:
    prices = np.random.default_rng(1).normal(0, 100, 400) + shift - 500 * (shift == 0)
    samples = make_samples(make_series(prices), 60, 1)
    forecasts = samples.windows[:, -1:, None] + np.array([-130.0, 0.0, 130.0])
    (score,) = scoring.score_backtest(Backtest(samples, forecasts, [0.1, 0.5, 0.9], [80]))
    assert [row.baseline for row in score.point_baselines] == ["last price", "mean of 20"]
    assert (score.interval_baselines, score.coverage_by_volatility) == ([], [])
    assert [fold.pinball_ratio for fold in score.folds] == [None] * 5
    assert score.coverage_interval["80"].percent == pytest.approx(score.coverage["80"])
    assert summary.summarize([score], held=False).point_skill == "none"
