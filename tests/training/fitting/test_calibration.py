"""Calibration: the coverage of conformal offsets, and the choice of the center."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from app.artifact.affine import Affine
from app.artifact.arrays import F32, F64
from app.artifact.manifest import Calibration, LogReturnParameters, TrainingRange
from app.artifact.transform import LogReturn
from app.inference.forecaster import Forecaster
from tests.training.conftest import RECIPES, FunctionEngine, daily_dates, make_samples, make_series
from training.data.series import Series
from training.data.simulator import autoregressive, random_walk
from training.data.split import split_blocks
from training.fitting import calibration
from training.recipe_files import load_recipe


def intervals(rows: int, *half_widths: float, horizon: int = 1) -> F64:
    """(N, H, Q) quantiles around 0 with the given half widths, innermost level first."""
    ends = [*(-width for width in half_widths[::-1]), 0.0, *half_widths]
    return np.tile(np.array(ends), (rows, horizon, 1))


# Offsets


def test_identity_calibration_has_offsets_of_zero() -> None:
    found = calibration.identity_calibration(3, [50, 80], "last_price")
    assert found.center == "last_price"
    assert found.offsets == [[0.0, 0.0]] * 3
    assert calibration.identity_calibration(2, [], "network").offsets == [[], []]


@pytest.mark.parametrize("level", [50, 80, 95])
@pytest.mark.parametrize("half_width", [0.1, 1.0, 5.0], ids=["too narrow", "about right", "too wide"])
def test_conformal_offsets_cover_the_level_on_iid_data(level: int, half_width: float) -> None:
    """Each of many trials calibrates on 150 outcomes and measures the coverage of 150 others."""
    rng = np.random.default_rng(1)
    trials, n = 300, 150
    coverages = []
    for _ in range(trials):
        quantiles = intervals(2 * n, half_width) + 0.3 * rng.standard_normal((2 * n, 1, 1))
        targets = rng.standard_t(5, (2 * n, 1))
        ((offset,),) = calibration.conformal_offsets(quantiles[:n], targets[:n], [level])
        lower, upper = quantiles[n:, 0, 0] - offset, quantiles[n:, 0, 2] + offset
        coverages.append(np.mean((lower <= targets[n:, 0]) & (targets[n:, 0] <= upper)))
    error = np.std(coverages) / np.sqrt(trials)
    assert level / 100 - 3 * error < np.mean(coverages) < level / 100 + 2 / n + 3 * error


@pytest.mark.parametrize(
    ("n", "level", "rank"),
    [(99, 80, 80), (99, 95, 95), (100, 80, 81), (19, 95, 19), (10, 50, 6), (9, 50, 5), (500, 90, 451), (4, 80, 4)],
)
def test_conformal_offsets_use_the_finite_sample_rank(n: int, level: int, rank: int) -> None:
    """The offset is the ⌈(N + 1) · level⌉-th smallest of N scores."""
    scores = np.random.default_rng(2).permutation(np.arange(1.0, n + 1))[:, None]
    assert calibration.conformal_offsets(intervals(n, 0.0), scores, [level]) == [[rank]]


@pytest.mark.parametrize("n", [1, 5, 18])
def test_conformal_offsets_too_few_outcomes_use_the_largest(n: int) -> None:
    targets = np.random.default_rng(3).standard_normal((n, 1))
    ((offset,),) = calibration.conformal_offsets(intervals(n, 0.0), targets, [95])
    assert offset == np.abs(targets).max()


def test_conformal_offsets_narrow_a_wide_interval() -> None:
    targets = np.random.default_rng(4).uniform(-1, 1, (400, 1))
    ((offset,),) = calibration.conformal_offsets(intervals(400, 3.0), targets, [80])
    assert offset == pytest.approx(0.8 - 3.0, abs=0.05)


def test_conformal_offsets_widen_by_the_worse_side() -> None:
    targets = np.tile([5.0, -2.0], 50)[:, None]
    ((offset,),) = calibration.conformal_offsets(intervals(100, 1.0), targets, [90])
    assert offset == 4.0


def test_conformal_offsets_differ_by_horizon_and_level() -> None:
    rng = np.random.default_rng(5)
    targets = rng.standard_normal((5000, 2)) * [1.0, 3.0]
    found = np.array(calibration.conformal_offsets(intervals(5000, 0.5, 1.0, horizon=2), targets, [50, 80]))
    inner, outer = 0.6745, 1.2816  # of a standard normal
    expected = [[inner - 0.5, outer - 1.0], [3 * inner - 0.5, 3 * outer - 1.0]]
    assert found == pytest.approx(np.array(expected), abs=0.15)


# Fitted calibrations

TRANSFORM = LogReturn(LogReturnParameters(), Affine(1.0, 0.0))
NORMAL = [-1.2816, -0.6745, 0.0, 0.6745, 1.2816]  # the quantiles of 50% and 80%


def calibrated(network: Callable[[F32], F64], series: Series, **changes: Any) -> Calibration:
    """The calibration of a network, given as a function, on a series."""
    recipe = load_recipe(str(RECIPES / "quick.toml"), horizon=1, **changes)
    _, evaluation = split_blocks([series], [], recipe.split, recipe.window, 1)

    def forecaster(calibration: Calibration) -> Forecaster:
        ranges = [TrainingRange(quantity=quantity, low=-100.0, high=100.0) for quantity in TRANSFORM.quantities]
        return Forecaster(TRANSFORM, FunctionEngine(network), calibration, recipe.quantiles, ranges)

    return calibration.fit_calibration(recipe, forecaster, TRANSFORM, evaluation.validation, evaluation.calibration)


def ar1_network(coefficient: float, width: float = 1.0) -> Callable[[F32], F64]:
    """A network that forecasts an AR(1) with normal quantiles."""

    def outputs(inputs: F32) -> F64:
        return coefficient * inputs[:, -1].astype(np.float64) + width * np.array(NORMAL)

    return outputs


def dated(series: Series) -> Series:
    return make_series(series.prices, series.name, daily_dates("2001-01-01", len(series.prices)))


def test_fit_calibration_auto_uses_a_network_with_skill() -> None:
    signal = dated(autoregressive(1, 3000, 1, 0.4)[0])
    assert calibrated(ar1_network(0.4), signal).center == "network"
    assert calibrated(ar1_network(-0.4), signal).center == "last_price"


def test_fit_calibration_auto_uses_last_price_on_random_walk() -> None:
    noise = dated(random_walk(1, 3000, 2)[0])
    assert calibrated(ar1_network(0.4), noise).center == "last_price"
    assert calibrated(ar1_network(0.0), noise).center == "last_price"


def test_fit_calibration_auto_uses_last_price_without_data() -> None:
    """The series is too short for a single validation window."""
    short = dated(random_walk(1, 120, 2)[0])
    assert calibrated(lambda inputs: np.zeros((len(inputs), 1)), short, levels=[]).center == "last_price"


def test_fit_calibration_keeps_a_configured_center() -> None:
    noise = dated(random_walk(1, 1000, 2)[0])
    for center in ("network", "last_price"):
        assert calibrated(ar1_network(0.4), noise, calibration={"center": center}).center == center


def test_fit_calibration_without_levels_has_no_offsets() -> None:
    noise = dated(random_walk(1, 1000, 2)[0])
    found = calibrated(lambda inputs: np.zeros((len(inputs), 1)), noise, levels=[])
    assert found == Calibration(center="last_price", offsets=[[]])


@pytest.mark.parametrize("width", [0.5, 1.0, 2.0])
def test_fit_calibration_offsets_correct_any_width(width: float) -> None:
    noise = dated(random_walk(1, 6000, 3)[0])
    ((inner, outer),) = calibrated(ar1_network(0.0, width), noise).offsets
    assert inner == pytest.approx(0.6745 * (1 - width), abs=0.12)
    assert outer == pytest.approx(1.2816 * (1 - width), abs=0.12)


def test_fit_calibration_ignores_the_test_block() -> None:
    found = []
    for factor in (1.0, 3.0):
        series = dated(random_walk(1, 2000, 4)[0])
        series.prices[1600:] *= factor
        found.append(calibrated(ar1_network(0.1), series))
    assert found[0] == found[1]


def test_to_output_units_inverts_decoding() -> None:
    samples = make_samples(random_walk(1, 120, 1)[0], 20, 2)
    encoded = TRANSFORM.encode(samples.windows)
    outputs = np.random.default_rng(1).normal(size=(len(samples), 2, 5))
    assert calibration._to_output_units(TRANSFORM, TRANSFORM.decode(outputs, encoded), encoded) == pytest.approx(
        outputs
    )
