"""Tests of the evidence summary: when a median has skill, and the sentences that say so."""

from typing import Any

import numpy as np
import pytest

from app.artifact.evidence import Evidence, Score
from tests.training.conftest import make_point_backtest, make_samples, make_score
from training.data.simulator import random_walk
from training.evaluation.scoring import score_backtest
from training.evaluation.summary import has_skill, is_lagged_copy, summarize

SKILLED = {"skill": 0.05, "skill_p_value": 0.001, "rmse": 1.95, "copy_ratio": 0.4, "correlation_next": 0.95}


def test_summarize_centered_on_last_price_has_no_point_skill() -> None:
    found = summarize([make_score(**SKILLED)], is_centered_on_last_price=True)
    assert found.point_skill == "none"
    assert found.summary.startswith("No point skill was found, so the median repeats the last price.")


def test_summarize_significant_skill_states_its_size() -> None:
    found = summarize(
        [make_score(**SKILLED), make_score(**SKILLED, instrument="other")], is_centered_on_last_price=False
    )
    assert found.point_skill == "some"
    assert found.summary.startswith(
        "The median beats repeating the last price: skill 5.0%, RMSE ratio 0.975. Measured on 200 test steps of made,"
    )


def test_summarize_insignificant_gain_says_so() -> None:
    found = summarize([make_score(skill=0.004, skill_p_value=0.3, rmse=1.99)], is_centered_on_last_price=False)
    assert found.point_skill == "none"
    assert found.summary.startswith(
        "No point skill: the gain over repeating the last price (0.40%) is not statistically significant."
    )


def test_summarize_lagged_forecasts_mention_lagged_copy() -> None:
    lagged = make_score(skill=-1.0, skill_p_value=1.0, rmse=2.9, correlation_last=0.97, correlation_next=0.9)
    found = summarize([lagged], is_centered_on_last_price=False)
    assert found.point_skill == "none"
    assert found.summary.startswith(
        "No point skill: the RMSE of the median is 1.45 times that of repeating the last price; "
        "the forecasts are a lagged copy of the price."
    )


def test_summarize_other_forecasts_omit_lagged_copy() -> None:
    wild = make_score(skill=-1.0, skill_p_value=1.0, rmse=2.9, correlation_last=0.2, correlation_next=0.3)
    lagged = make_score(skill=-1.0, skill_p_value=1.0, rmse=2.9, correlation_last=0.97, correlation_next=0.9)
    for rows in ([wild], [wild, lagged]):
        sentences = summarize(rows, is_centered_on_last_price=False).summary
        assert sentences.startswith(
            "No point skill: the RMSE of the median is 1.45 times that of repeating the last price."
        )


def test_summarize_negative_skill_is_not_called_a_gain() -> None:
    """RMSE in price may be better than the last price's while the skill in log returns is negative."""
    lost = make_score(skill=-0.002, skill_p_value=0.6, rmse=1.99, correlation_last=0.9, correlation_next=0.9)
    sentences = summarize([lost], is_centered_on_last_price=False).summary
    assert sentences.startswith("No point skill: the median is no better than repeating the last price. ")
    copy = lost.model_copy(update={"correlation_last": 0.95})
    assert "no better than repeating the last price; the forecasts are a lagged copy of the price." in (
        summarize([copy], is_centered_on_last_price=False).summary
    )


def test_is_lagged_copy_needs_no_skill_and_correlation() -> None:
    assert is_lagged_copy(make_score(skill=0.0, correlation_last=1.0, correlation_next=0.9))
    assert is_lagged_copy(make_score(skill=-0.1, correlation_last=0.95, correlation_next=0.9))
    assert not is_lagged_copy(make_score(skill=0.1, correlation_last=1.0, correlation_next=0.9))
    assert not is_lagged_copy(make_score(skill=-0.1, correlation_last=0.9, correlation_next=0.9))


def test_is_lagged_copy_of_moving_average() -> None:
    """Networks on price levels tend to learn a moving average."""
    samples = make_samples(random_walk(1, 400, 1)[0], 60, 1)
    last, outcome = samples.windows[:, -1], samples.futures[:, 0]
    smoothed = samples.windows[:, -3:].mean(axis=1)
    (row,) = score_backtest(make_point_backtest(samples, smoothed), with_baselines=False)
    assert row.correlation_last == pytest.approx(float(np.corrcoef(smoothed, last)[0, 1]))
    assert row.correlation_next == pytest.approx(float(np.corrcoef(smoothed, outcome)[0, 1]))
    assert is_lagged_copy(row)
    assert "lagged copy" in summarize([row], is_centered_on_last_price=False).summary


def test_summarize_mentions_80_and_95_intervals_only() -> None:
    covered = {"50": 49.0, "80": 81.04, "95": 94.96}
    scores = [make_score(coverage=covered), make_score(coverage=covered | {"80": 83.0}, instrument="other", origins=40)]
    assert summarize(scores, is_centered_on_last_price=True).summary == (
        "No point skill was found, so the median repeats the last price. "
        "The 80% intervals contained the next price 82.0% of the time. "
        "The 95% intervals contained the next price 95.0% of the time. "
        "Measured on 140 test steps of made, other."
    )


def test_summarize_uses_one_step_scores_and_keeps_all() -> None:
    later = make_score(horizon=2, skill=0.9, skill_p_value=1e-9, coverage={"80": 10.0}, origins=7)
    first = make_score(coverage={"80": 80.0})
    found = summarize([first, later], is_centered_on_last_price=False)
    assert isinstance(found, Evidence)
    assert found.scores == [first, later]
    assert found.point_skill == "none"
    assert "80.0%" in found.summary
    assert "Measured on 100 test steps of made." in found.summary


def test_summarize_separates_unseen_instruments() -> None:
    covered = {"50": 49.0, "80": 81.0, "95": 95.0}
    seen = make_score(coverage=covered)
    unseen = [
        make_score(coverage=covered | {"80": 70.0}, instrument="one", seen=False, origins=30),
        make_score(coverage=covered | {"80": 75.0}, instrument="two", seen=False, origins=20),
    ]
    assert summarize([seen, *unseen], is_centered_on_last_price=True).summary == (
        "No point skill was found, so the median repeats the last price. "
        "The 80% intervals contained the next price 81.0% of the time. "
        "The 95% intervals contained the next price 95.0% of the time. "
        "Measured on 100 test steps of made. "
        "On 50 steps of instruments that the model was not trained on (one, two), "
        "the 80% intervals contained 72.5% of the next prices and the 95% intervals contained 95.0% of the next prices."
    )


def test_summarize_pinball_ratio_is_the_median() -> None:
    def with_pinball_ratios(**ratios: float) -> Score:
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

    scores = [
        with_pinball_ratios(ewma=0.98, garch=1.01),
        with_pinball_ratios(ewma=0.99, garch=1.03),
        with_pinball_ratios(ewma=1.5),
    ]
    assert summarize(scores, is_centered_on_last_price=True).summary.endswith(
        "The pinball loss is 0.990 times that of a random walk with EWMA volatility and 1.020 times that of a GARCH-t "
        "model fitted to each instrument (medians over instruments; below 1 is better)."
    )
    alone = summarize(scores[2:], is_centered_on_last_price=True).summary
    assert alone.endswith(
        "is 1.500 times that of a random walk with EWMA volatility (medians over instruments; below 1 is better)."
    )


def test_summarize_unseen_instruments_without_levels() -> None:
    found = summarize([make_score(seen=False, rmse=2.4)], is_centered_on_last_price=False)
    assert found.summary.endswith(
        "On 100 steps of instruments that the model was not trained on (made), "
        "the RMSE of the median was 1.20 times that of repeating the last price."
    )
    assert "Measured on" not in found.summary


def test_summarize_rounds_floats_to_six_digits() -> None:
    found = summarize(
        [make_score(rmse=1234.56789, skill=-1.23456789e-5, origins=1234567)], is_centered_on_last_price=True
    )
    (score,) = found.scores
    assert (score.rmse, score.skill, score.origins) == (1234.57, -1.23457e-5, 1234567)


def test_has_skill_significant_on_every_instrument() -> None:
    assert has_skill([make_score(skill=0.02, skill_p_value=0.01), make_score(skill=0.03, skill_p_value=0.02)])


def test_has_skill_significant_on_one_instrument() -> None:
    assert has_skill([make_score(skill=0.05, skill_p_value=0.001), make_score(skill=-0.01, skill_p_value=0.7)])


def test_has_skill_negative_mean_skill_is_false() -> None:
    assert not has_skill([make_score(skill=0.05, skill_p_value=0.001), make_score(skill=-0.06, skill_p_value=1.0)])


def test_has_skill_corrects_for_number_of_instruments() -> None:
    chance = make_score(skill=0.01, skill_p_value=0.5)
    lucky = make_score(skill=0.01, skill_p_value=0.02)
    assert has_skill([lucky])
    assert has_skill([lucky, chance])
    assert not has_skill([lucky, chance, chance])


def test_has_skill_p_value_at_limit_is_false() -> None:
    assert not has_skill([make_score(skill=0.01, skill_p_value=0.05)])


def test_has_skill_counts_instruments_without_p_value() -> None:
    same = make_score(skill=0.0, skill_p_value=None)
    assert has_skill([make_score(skill=0.01, skill_p_value=0.02), same])
    assert not has_skill([make_score(skill=0.01, skill_p_value=0.02), same, same])
    assert not has_skill([same, same])


def test_has_skill_uses_one_step_scores_only() -> None:
    later = make_score(horizon=2, skill=0.5, skill_p_value=1e-9)
    assert not has_skill([make_score(skill=-0.01, skill_p_value=0.8), later])
    worse_later = make_score(horizon=2, skill=-0.5, skill_p_value=1.0)
    assert has_skill([make_score(skill=0.01, skill_p_value=0.01), worse_later, worse_later, worse_later])


def test_has_skill_without_scores_is_false() -> None:
    """The validation block of a short series may be empty."""
    assert not has_skill([])
