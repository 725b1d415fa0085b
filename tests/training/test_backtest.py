"""Backtests: what is scored, what the scores amount to, and in which words that is said."""

from datetime import date

import numpy as np
import pytest

from app.artifact.manifest import Calibration, Evidence
from app.artifact.transform import F32, F64
from tests.training.conftest import (
    a_score,
    a_series,
    days,
    log_return_forecaster,
    samples_of,
    says_last_price,
)
from training import backtest, metrics
from training.backtest import Backtest, evidence, has_skill, is_lagged_copy, score, table
from training.split import Samples
from training.synthetic import autoregressive, random_walk

WINDOW = 60
COEFFICIENT = 0.4


def a_backtest(samples: Samples, forecast: F64) -> Backtest:
    """Of (N,) point forecasts one step ahead."""
    return Backtest(samples, forecast[:, None, None], [0.5], [])


def knows_the_coefficient(inputs: F32) -> F64:
    """What an AR(1) expects: so much of the last return."""
    return COEFFICIENT * inputs[:, -1].astype(np.float64)


def guesses(inputs: F32) -> F64:
    """Noise half as large as the returns."""
    return np.random.default_rng(9).normal(0, 0.5, (len(inputs), 1))


def walk(rows: int = 400, seed: int = 1) -> Samples:
    return samples_of(random_walk(1, rows, seed)[0], WINDOW, 1)


def one_step(samples: Samples) -> tuple[F64, F64]:
    """(N,) last prices and outcomes."""
    return samples.windows[:, -1], samples.futures[:, 0]


# Which column is which


def test_median_and_intervals_are_the_right_columns() -> None:
    samples = samples_of(a_series(np.arange(1.0, 15.0)), 10, 2)  # 3 samples
    forecasts = np.arange(3 * 2 * 5, dtype=np.float64).reshape(3, 2, 5)
    test = Backtest(samples, forecasts, [0.05, 0.25, 0.5, 0.75, 0.95], [50, 90])
    assert test.median.tolist() == forecasts[:, :, 2].tolist()
    for level, lower, upper in ((50, 1, 3), (90, 0, 4)):
        low, high = test.interval(level)
        assert low.tolist() == forecasts[:, :, lower].tolist()
        assert high.tolist() == forecasts[:, :, upper].tolist()
    with pytest.raises(ValueError, match="80"):
        test.interval(80)


def test_every_window_is_forecast_in_order_whatever_the_size_of_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = walk(300)
    forecaster = log_return_forecaster(knows_the_coefficient)
    whole = backtest.run(forecaster, samples, [0.5], [])
    monkeypatch.setattr(backtest, "CHUNK", 7)
    in_pieces = backtest.run(forecaster, samples, [0.5], [])
    assert whole.forecasts.shape == (240, 1, 1)
    assert in_pieces.forecasts == pytest.approx(whole.forecasts, rel=1e-6)
    assert in_pieces.samples is samples


# Scores


def test_repeating_the_last_price_has_no_skill_no_p_value_and_copies() -> None:
    samples = walk()
    (row,) = score(backtest.run(log_return_forecaster(says_last_price), samples, [0.5], []))
    assert (row.skill, row.skill_p_value, row.copy_ratio) == (0, None, 0)
    assert (row.rmse, row.mae) == (row.rmse_last_price, row.mae_last_price)
    assert row.correlation_last == pytest.approx(1)
    assert (row.coverage, row.pinball, row.pinball_random_walk) == ({}, None, None)
    found = evidence([row], held=False)
    assert found.point_skill == "none"


def test_figures_in_prices_are_those_of_the_series() -> None:
    samples = walk()
    last, outcome = one_step(samples)
    forecast = last * 1.01
    (row,) = score(a_backtest(samples, forecast))
    assert (row.instrument, row.horizon, row.origins) == ("random-walk-0001", 1, 340)
    assert row.rmse == pytest.approx(metrics.rmse(forecast, outcome))
    assert row.rmse_last_price == pytest.approx(metrics.rmse(last, outcome))
    assert row.mae == pytest.approx(metrics.mae(forecast, outcome))
    assert row.mae_last_price == pytest.approx(metrics.mae(last, outcome))
    assert row.copy_ratio == pytest.approx(np.mean(0.01 * last) / np.mean(np.abs(outcome - last)))
    assert row.correlation_last == pytest.approx(1)
    assert row.correlation_next == pytest.approx(float(np.corrcoef(last, outcome)[0, 1]))


def test_skill_is_that_of_squared_log_returns() -> None:
    samples = walk()
    last, outcome = one_step(samples)
    (row,) = score(a_backtest(samples, last * 1.01))
    loss = (np.log(outcome / last) - np.log(1.01)) ** 2
    assert row.skill == pytest.approx(1 - np.sum(loss) / np.sum(np.log(outcome / last) ** 2))


def test_a_planted_signal_is_found() -> None:
    """Its share of the variance is the coefficient squared."""
    samples = samples_of(autoregressive(1, 2000, 1, COEFFICIENT)[0], WINDOW, 1)
    (row,) = score(backtest.run(log_return_forecaster(knows_the_coefficient), samples, [0.5], []))
    assert row.skill == pytest.approx(COEFFICIENT**2, abs=0.05)
    assert row.skill_p_value is not None
    assert row.skill_p_value < 1e-6
    found = evidence([row], held=False)
    assert found.point_skill == "some"
    assert found.summary.startswith(f"The median beats repeating the last price: skill {row.skill:.1%}, RMSE ratio 0.9")


def test_noise_on_a_random_walk_has_no_skill() -> None:
    (row,) = score(backtest.run(log_return_forecaster(guesses), walk(2000), [0.5], []))
    assert row.skill < -0.1
    assert row.skill_p_value is not None
    assert row.skill_p_value > 0.99
    assert evidence([row], held=False).point_skill == "none"


def test_knowing_a_coefficient_that_is_not_there_has_no_skill() -> None:
    rows = [
        row
        for series in random_walk(4, 1500, seed=2)
        for row in score(
            backtest.run(log_return_forecaster(knows_the_coefficient), samples_of(series, WINDOW, 1), [0.5], [])
        )
    ]
    assert all(row.skill < 0 for row in rows)
    assert evidence(rows, held=False).point_skill == "none"


def test_every_horizon_has_a_row_with_its_own_baseline() -> None:
    samples = samples_of(random_walk(1, 500, 1)[0], WINDOW, 3)
    forecaster = log_return_forecaster(
        lambda inputs: np.zeros((len(inputs), 3)), calibration=Calibration(center="network", offsets=[[], [], []])
    )
    rows = score(backtest.run(forecaster, samples, [0.5], []))
    assert [row.horizon for row in rows] == [1, 2, 3]
    for h, row in enumerate(rows):
        assert row.rmse_last_price == pytest.approx(metrics.rmse(samples.windows[:, -1], samples.futures[:, h]))
        assert row.skill == 0


def test_intervals_are_scored_beside_those_of_a_random_walk() -> None:
    quantiles, levels = [0.1, 0.25, 0.5, 0.75, 0.9], [50, 80]
    samples = walk(3000)
    forecaster = log_return_forecaster(
        lambda inputs: np.tile([-1.2816, -0.6745, 0.0, 0.6745, 1.2816], (len(inputs), 1)), quantiles
    )
    (row,) = score(backtest.run(forecaster, samples, quantiles, levels))
    assert row.coverage == {"50": pytest.approx(50, abs=4), "80": pytest.approx(80, abs=4)}
    assert row.pinball is not None
    assert row.pinball_random_walk is not None
    assert row.pinball / row.pinball_random_walk == pytest.approx(1, abs=0.01)
    assert 0.002 < row.pinball < 0.004  # relative to the price: of returns of 1%


def test_a_scale_of_prices_changes_no_relative_figure() -> None:
    quantiles, levels = [0.1, 0.5, 0.9], [80]
    series = random_walk(1, 300, 3)[0]
    rows = []
    for factor in (1.0, 1e6, 1e-6):
        samples = samples_of(a_series(factor * series.prices), WINDOW, 1)
        last = samples.windows[:, -1:, None]  # (N, 1, 1)
        forecasts = last * np.array([0.99, 1.001, 1.01])
        rows.append(score(Backtest(samples, forecasts, quantiles, levels))[0])
    for row in rows[1:]:
        for figure in ("skill", "skill_p_value", "copy_ratio", "correlation_next", "pinball", "pinball_random_walk"):
            assert getattr(row, figure) == pytest.approx(getattr(rows[0], figure), rel=1e-6)
        assert row.coverage == rows[0].coverage


def test_dates_are_those_of_the_first_and_last_price_forecast() -> None:
    series = a_series(random_walk(1, 100, 1)[0].prices, dates=days("2020-01-01", 100))
    samples = samples_of(series, WINDOW, 2)
    rows = score(Backtest(samples, np.repeat(samples.windows[:, -1:], 2, axis=1)[:, :, None], [0.5], []))
    assert {(row.first_date, row.last_date) for row in rows} == {(date(2020, 3, 1), date(2020, 4, 9))}


def test_without_dates_there_are_none() -> None:
    samples = walk()
    (row,) = score(a_backtest(samples, samples.windows[:, -1]))
    assert (row.first_date, row.last_date) == (None, None)


@pytest.mark.parametrize("nonsense", [0.0, -5.0, -1e9])
def test_a_forecast_of_nothing_or_less_is_a_very_bad_one_and_no_error(nonsense: float) -> None:
    samples = walk()
    forecast = samples.windows[:, -1].copy()
    forecast[7] = nonsense
    (row,) = score(a_backtest(samples, forecast))
    assert np.isfinite(row.skill)
    assert row.skill < -10


def test_negative_prices_have_no_random_walk_beside_them() -> None:
    """As spreads have, which the tutorial's transform can take."""
    prices = np.random.default_rng(1).normal(0, 1, 200)
    samples = samples_of(a_series(prices), WINDOW, 1)
    forecasts = samples.windows[:, -1:, None] + np.array([-1.3, 0.0, 1.3])
    (row,) = score(Backtest(samples, forecasts, [0.1, 0.5, 0.9], [80]))
    assert row.pinball_random_walk is None
    assert row.skill == 0
    assert "pinball" in table([row])


@pytest.mark.parametrize("level", [0.0, -200.0], ids=["some negative", "all negative"])
def test_prices_without_a_logarithm_are_scored_as_they_are(level: float) -> None:
    prices = level + np.random.default_rng(1).normal(0, 1, 200)
    samples = samples_of(a_series(prices), WINDOW, 1)
    last, outcome = one_step(samples)
    (row,) = score(a_backtest(samples, last))
    assert (row.skill, row.copy_ratio) == (0, 0)
    (row,) = score(a_backtest(samples, samples.windows.mean(axis=1)))
    assert row.skill == pytest.approx(
        1 - metrics.rmse(samples.windows.mean(axis=1), outcome) ** 2 / row.rmse_last_price**2
    )
    assert row.skill > 0.3


def test_a_price_of_zero_is_scored() -> None:
    prices = np.random.default_rng(1).normal(0, 1, 200)
    prices[120] = 0.0
    samples = samples_of(a_series(prices), WINDOW, 1)
    forecasts = samples.windows[:, -1:, None] + np.array([-1.3, 0.0, 1.3])
    (row,) = score(Backtest(samples, forecasts, [0.1, 0.5, 0.9], [80]))
    assert row.skill == 0


def test_prices_that_stand_still_are_scored() -> None:
    """A pegged currency, say: repeating the last price is perfect, and so is whatever repeats it."""
    samples = samples_of(a_series(np.full(200, 7.75)), WINDOW, 1)
    (same,) = score(a_backtest(samples, samples.windows[:, -1]))
    assert (same.skill, same.skill_p_value, same.copy_ratio) == (0, None, 0)
    (other,) = score(a_backtest(samples, samples.windows[:, -1] + 0.01))
    assert other.skill < 0
    for row in (same, other):
        assert "made" in table([row])
        assert evidence([row], held=False).point_skill == "none"
        assert evidence([row], held=True).point_skill == "none"


# When a median is believed to have skill


def test_a_gain_on_every_instrument_beyond_chance_is_skill() -> None:
    assert has_skill([a_score(skill=0.02, skill_p_value=0.01), a_score(skill=0.03, skill_p_value=0.02)])


def test_one_instrument_beyond_chance_is_enough_where_all_together_gain() -> None:
    assert has_skill([a_score(skill=0.05, skill_p_value=0.001), a_score(skill=-0.01, skill_p_value=0.7)])


def test_a_gain_on_one_instrument_that_others_lose_is_no_skill() -> None:
    assert not has_skill([a_score(skill=0.05, skill_p_value=0.001), a_score(skill=-0.06, skill_p_value=1.0)])


def test_the_more_instruments_the_smaller_a_p_value_must_be() -> None:
    chance = a_score(skill=0.01, skill_p_value=0.5)
    lucky = a_score(skill=0.01, skill_p_value=0.02)
    assert has_skill([lucky])
    assert has_skill([lucky, chance])
    assert not has_skill([lucky, chance, chance])


def test_a_p_value_at_the_limit_is_not_below_it() -> None:
    assert not has_skill([a_score(skill=0.01, skill_p_value=0.05)])


def test_an_instrument_that_repeats_the_last_price_still_counts_as_tried() -> None:
    same = a_score(skill=0.0, skill_p_value=None)
    assert has_skill([a_score(skill=0.01, skill_p_value=0.02), same])
    assert not has_skill([a_score(skill=0.01, skill_p_value=0.02), same, same])
    assert not has_skill([same, same])


def test_only_one_step_ahead_decides() -> None:
    later = a_score(horizon=2, skill=0.5, skill_p_value=1e-9)
    assert not has_skill([a_score(skill=-0.01, skill_p_value=0.8), later])
    worse_later = a_score(horizon=2, skill=-0.5, skill_p_value=1.0)
    assert has_skill([a_score(skill=0.01, skill_p_value=0.01), worse_later, worse_later, worse_later])


def test_without_a_score_there_is_no_skill() -> None:
    """As where a market is too short for a single window to validate on, and simulated paths teach beside it."""
    assert not has_skill([])


# What the scores amount to

SKILLED = {"skill": 0.05, "skill_p_value": 0.001, "rmse": 1.95, "copy_ratio": 0.4, "correlation_next": 0.95}


def test_held_at_the_last_price_there_is_no_point_skill_whatever_the_scores() -> None:
    found = evidence([a_score(**SKILLED)], held=True)
    assert found.point_skill == "none"
    assert found.summary.startswith("No point skill was found, so the median repeats the last price.")


def test_skill_beyond_chance_is_said_with_its_size() -> None:
    found = evidence([a_score(**SKILLED), a_score(**SKILLED, instrument="other")], held=False)
    assert found.point_skill == "some"
    assert found.summary.startswith(
        "The median beats repeating the last price: skill 5.0%, RMSE ratio 0.975. Measured on 200 unseen steps of made,"
    )


def test_a_gain_within_chance_is_said_to_be_so() -> None:
    found = evidence([a_score(skill=0.004, skill_p_value=0.3, rmse=1.99)], held=False)
    assert found.point_skill == "none"
    assert found.summary.startswith(
        "No point skill: what the median gains on repeating the last price (0.40%) is within chance."
    )


def test_a_loss_that_follows_the_last_price_is_called_a_lagged_copy() -> None:
    lagged = a_score(skill=-1.0, skill_p_value=1.0, rmse=2.9, correlation_last=0.97, correlation_next=0.9)
    found = evidence([lagged], held=False)
    assert found.point_skill == "none"
    assert found.summary.startswith(
        "No point skill: the median misses by 1.45 times as much as repeating the last price, "
        "and follows it like a lagged copy."
    )


def test_a_loss_that_follows_nothing_is_not_called_a_lagged_copy() -> None:
    wild = a_score(skill=-1.0, skill_p_value=1.0, rmse=2.9, correlation_last=0.2, correlation_next=0.3)
    lagged = a_score(skill=-1.0, skill_p_value=1.0, rmse=2.9, correlation_last=0.97, correlation_next=0.9)
    for scores in ([wild], [wild, lagged]):
        summary = evidence(scores, held=False).summary
        assert summary.startswith(
            "No point skill: the median misses by 1.45 times as much as repeating the last price."
        )


def test_a_median_that_loses_a_little_is_not_said_to_gain() -> None:
    """Better in RMSE of prices, worse in log returns: the two need not agree."""
    lost = a_score(skill=-0.002, skill_p_value=0.6, rmse=1.99, correlation_last=0.9, correlation_next=0.9)
    summary = evidence([lost], held=False).summary
    assert summary.startswith("No point skill: the median is no better than repeating the last price. ")
    copy = lost.model_copy(update={"correlation_last": 0.95})
    assert "no better than repeating the last price, and follows it like a lagged copy." in (
        evidence([copy], held=False).summary
    )


def test_is_lagged_copy_needs_both_signs() -> None:
    assert is_lagged_copy(a_score(skill=0.0, correlation_last=1.0, correlation_next=0.9))
    assert is_lagged_copy(a_score(skill=-0.1, correlation_last=0.95, correlation_next=0.9))
    assert not is_lagged_copy(a_score(skill=0.1, correlation_last=1.0, correlation_next=0.9))
    assert not is_lagged_copy(a_score(skill=-0.1, correlation_last=0.9, correlation_next=0.9))


def test_a_moving_average_is_found_to_lag() -> None:
    """Which is what networks on price levels tend to learn."""
    samples = walk()
    last, outcome = one_step(samples)
    smoothed = samples.windows[:, -3:].mean(axis=1)
    (row,) = score(a_backtest(samples, smoothed))
    assert row.correlation_last == pytest.approx(float(np.corrcoef(smoothed, last)[0, 1]))
    assert row.correlation_next == pytest.approx(float(np.corrcoef(smoothed, outcome)[0, 1]))
    assert is_lagged_copy(row)
    assert "lagged copy" in evidence([row], held=False).summary


def test_intervals_of_80_and_95_are_summed_up_and_others_are_not() -> None:
    covered = {"50": 49.0, "80": 81.04, "95": 94.96}
    scores = [a_score(coverage=covered), a_score(coverage=covered | {"80": 83.0}, instrument="other", origins=40)]
    assert evidence(scores, held=True).summary == (
        "No point skill was found, so the median repeats the last price. "
        "The 80% intervals held the next price 82.0% of the time. "
        "The 95% intervals held the next price 95.0% of the time. "
        "Measured on 140 unseen steps of made, other."
    )


def test_only_one_step_ahead_is_summed_up_and_all_scores_are_kept() -> None:
    later = a_score(horizon=2, skill=0.9, skill_p_value=1e-9, coverage={"80": 10.0}, origins=7)
    first = a_score(coverage={"80": 80.0})
    found = evidence([first, later], held=False)
    assert isinstance(found, Evidence)
    assert found.scores == [first, later]
    assert found.point_skill == "none"
    assert "80.0%" in found.summary
    assert "Measured on 100 unseen steps of made." in found.summary


# The table


def test_the_table_is_aligned_to_the_right_under_its_head() -> None:
    covered = {"80": 80.123, "95": 95.0}
    large = {"rmse": 1234.5, "rmse_last_price": 1e-3, "skill": -12.5, "copy_ratio": 31.4, "origins": 123456}
    scores = [
        a_score(coverage=covered, pinball=0.5, pinball_random_walk=0.4, skill_p_value=0.0123, skill=0.01),
        a_score(instrument="long name", horizon=12, coverage=covered, pinball=0.25, pinball_random_walk=0.5, **large),
    ]
    lines = table(scores).splitlines()
    assert len(lines) == 3
    assert len({len(line) for line in lines}) == 1
    assert lines[0].split() == [
        *("instrument", "h", "n", "RMSE", "last", "price", "ratio", "skill", "p", "copy", "80%", "95%", "pinball/RW")
    ]
    assert lines[1].split() == [
        *("made", "1", "100", "2", "2", "1.0000", "+0.0100", "0.012", "0.00", "80.1", "95.0", "1.2500")
    ]
    assert lines[2].split()[2:] == [
        *("12", "123456", "1234", "0.001", "1234500.0000", "-12.5000", "-", "31.40", "80.1", "95.0", "0.5000")
    ]
    for head in ("RMSE", "last price", "ratio", "skill", "copy", "80%"):
        end = lines[0].index(head) + len(head)
        assert all(line[end - 1] != " " and line[end : end + 2].strip() == "" for line in lines)


def test_without_levels_the_table_has_no_columns_for_them() -> None:
    head, row = table([a_score()]).splitlines()
    assert head.split()[-1] == "copy"
    assert row.split()[-2:] == ["-", "0.00"]


def test_a_row_without_a_random_walk_ends_early() -> None:
    lines = table([a_score(coverage={"80": 80.0}, pinball=0.5)]).splitlines()
    assert lines[0].endswith("80%  pinball/RW")
    assert lines[1].endswith("80.0")


# What is held is held


@pytest.mark.parametrize("outputs", [[0.3, 0.1, 0.2], [0.1, 0.3, 0.2], [0.2, 0.3, 0.1], [-0.3, -0.2, -0.1]])
@pytest.mark.parametrize("offset", [0.0, 0.05, -0.15])
def test_a_median_held_at_the_last_price_is_it_even_where_the_networks_quantiles_cross(
    outputs: list[float], offset: float
) -> None:
    samples = walk()
    calibration = Calibration(center="last_price", offsets=[[offset]])
    forecaster = log_return_forecaster(lambda inputs: np.tile(outputs, (len(inputs), 1)), [0.1, 0.5, 0.9], calibration)
    found = backtest.run(forecaster, samples, [0.1, 0.5, 0.9], [80])
    assert found.median[:, 0] == pytest.approx(samples.windows[:, -1], rel=1e-12)
