import json

from benchmarks.measurements import Measurement, Measurements, Spread, compute_spread

RATES = {"fast": (10.0, 30.0, 20.0), "slow": (5.0, 10.0, 4.0)}


def example() -> Measurements:
    succeeded = [
        Measurement(round_number, server, "64", {"requests_per_s": rate})
        for server, rates in RATES.items()
        for round_number, rate in enumerate(rates)
    ]
    return Measurements([*succeeded, Measurement(3, "fast", "64", failure="3 timeout errors")])


def test_spread_is_median_and_range() -> None:
    assert compute_spread([3.0, 1.0, 8.0]) == Spread(3.0, 1.0, 8.0)
    assert compute_spread([1.0, 2.0]) == Spread(1.5, 1.0, 2.0)
    assert compute_spread([]) is None


def test_failed_measurements_are_excluded_and_listed() -> None:
    measurements = example()
    assert measurements.spread("fast", "64", "requests_per_s") == Spread(20.0, 10.0, 30.0)
    assert [each.failure for each in measurements.failures] == ["3 timeout errors"]
    assert measurements.spread("fast", "256", "requests_per_s") is None


def test_ratio_is_taken_in_each_round_before_the_median() -> None:
    measurements = example()
    fast, slow = ("fast", "64", "requests_per_s"), ("slow", "64", "requests_per_s")
    assert measurements.ratio(fast, slow) == Spread(3.0, 2.0, 5.0)  # the ratio of the medians would be 4
    assert measurements.ratio(fast, ("absent", "64", "requests_per_s")) is None


def test_combine_uses_rounds_with_all_figures() -> None:
    measurements = Measurements([*example().all, Measurement(0, "other", "1", {"p50_ms": 1.0})])
    sums = measurements.combine(
        lambda rate, p50: rate + p50, ("fast", "64", "requests_per_s"), ("other", "1", "p50_ms")
    )
    assert sums == Spread(11.0, 11.0, 11.0)


def test_best_has_the_best_median() -> None:
    measurements = example()
    candidates = [(name, "64", "requests_per_s") for name in (*RATES, "absent")]
    assert measurements.best(candidates) == candidates[0]
    assert measurements.best(candidates, is_lower_better=True) == candidates[1]
    assert measurements.best([candidates[2]]) is None


def test_measurements_round_trip_through_json() -> None:
    measurements = example()
    assert Measurements.from_json(json.loads(json.dumps(measurements.to_json()))).all == measurements.all
