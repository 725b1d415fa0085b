import json

from benchmarks.measurements import Measurement, Measurements, Spread, spread

RATES = {"quick": (10.0, 30.0, 20.0), "slow": (5.0, 10.0, 4.0)}


def measured() -> Measurements:
    found = [
        Measurement(round_, subject, "64", {"requests_per_s": rate})
        for subject, rates in RATES.items()
        for round_, rate in enumerate(rates)
    ]
    return Measurements([*found, Measurement(3, "quick", "64", failure="3 timeout errors")])


def test_a_spread_is_the_median_and_the_ends() -> None:
    assert spread([3.0, 1.0, 8.0]) == Spread(3.0, 1.0, 8.0)
    assert spread([1.0, 2.0]) == Spread(1.5, 1.0, 2.0)
    assert spread([]) is None


def test_failed_rounds_are_in_no_figure_and_are_told() -> None:
    found = measured()
    assert found.spread("quick", "64", "requests_per_s") == Spread(20.0, 10.0, 30.0)
    assert [each.failure for each in found.failures] == ["3 timeout errors"]
    assert found.spread("quick", "256", "requests_per_s") is None


def test_a_ratio_is_made_in_each_round_and_then_the_median_taken() -> None:
    found = measured()
    quick, slow = ("quick", "64", "requests_per_s"), ("slow", "64", "requests_per_s")
    assert found.ratio(quick, slow) == Spread(3.0, 2.0, 5.0)  # the medians' ratio would be 4
    assert found.ratio(quick, ("absent", "64", "requests_per_s")) is None


def test_figures_are_combined_over_the_rounds_that_have_all_of_them() -> None:
    found = Measurements([*measured().all, Measurement(0, "other", "1", {"p50_ms": 1.0})])
    sums = found.combined(lambda rate, p50: rate + p50, ("quick", "64", "requests_per_s"), ("other", "1", "p50_ms"))
    assert sums == Spread(11.0, 11.0, 11.0)


def test_the_best_is_chosen_by_its_median() -> None:
    found = measured()
    candidates = [(name, "64", "requests_per_s") for name in (*RATES, "absent")]
    assert found.best(candidates) == candidates[0]
    assert found.best(candidates, least=True) == candidates[1]
    assert found.best([candidates[2]]) is None


def test_measurements_survive_json() -> None:
    found = measured()
    assert Measurements.of_json(json.loads(json.dumps(found.as_json()))).all == found.all
