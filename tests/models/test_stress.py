"""Models on artificial prices: arbitrary windows, random walks, planted signals and stock splits."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given

from app.artifact import store
from app.artifact.arrays import F64
from app.artifact.evidence import Score
from app.artifact.manifest import Manifest, interval_columns
from app.evaluation import scores
from app.inference.forecaster import Forecaster, pack_window
from tests.models.coverage_bounds import HORIZONS, TOLERANCES, coverage_tolerance
from tests.strategies import moderate_examples, windows
from tests.training.conftest import RECIPES
from training.commands.train import TrainingResult, train_and_publish
from training.data import simulator
from training.data.series import Series
from training.fitting.progress import ProgressLines
from training.recipe_files import load_recipe
from training.reports import report


@pytest.fixture(scope="module")
def levels(manifest: Manifest) -> list[int]:
    """The levels alone: Hypothesis cannot print a failing example that contains a whole manifest."""
    return manifest.levels


def prices_of(series: list[Series]) -> F64:
    """Return the prices of P series, of shape (P, T)."""
    return np.array([each.prices for each in series])


def interval(levels: list[int], quantiles: F64, level: int, horizon: int) -> tuple[F64, F64]:
    """Return the lower and upper ends, of shape (N,), of one interval in quantiles of shape (N, H, Q)."""
    lower, upper = interval_columns(level, levels)
    return quantiles[:, horizon - 1, lower], quantiles[:, horizon - 1, upper]


# Arbitrary windows


@moderate_examples
@given(prices=windows())
def test_intervals_are_finite_nested_and_widen_with_the_horizon(
    levels: list[int], forecaster: Forecaster, prices: F64
) -> None:
    quantiles = forecaster.forecast(prices)  # (B, H, Q)
    assert np.isfinite(quantiles).all()
    assert (quantiles > 0).all()
    assert (np.diff(quantiles, axis=2) >= 0).all()
    narrower = None
    for level in levels:
        ends = [interval(levels, quantiles, level, h) for h in range(1, quantiles.shape[1] + 1)]
        lower, upper = np.array([end[0] for end in ends]), np.array([end[1] for end in ends])  # (H, B)
        assert (np.diff(upper - lower, axis=0) >= 0).all()
        if narrower is not None:
            assert (lower <= narrower[0]).all()
            assert (upper >= narrower[1]).all()
        narrower = lower, upper


# Random walks


def test_random_walk_has_no_skill_and_correct_coverage(manifest: Manifest, forecaster: Forecaster) -> None:
    """Each of 4000 walks contributes one window, so the outcomes are independent."""
    rows = prices_of(simulator.random_walk(4000, manifest.window + manifest.horizon, seed=1))
    past, future = rows[:, : manifest.window], rows[:, manifest.window :]
    quantiles = forecaster.forecast(past)
    median = manifest.quantiles.index(0.5)
    for horizon in HORIZONS:
        outcome = np.log(future[:, horizon - 1] / past[:, -1])
        forecast = np.log(quantiles[:, horizon - 1, median] / past[:, -1])
        gain = outcome**2 - (outcome - forecast) ** 2  # (N,)
        assert gain.mean() <= 3 * gain.std() / np.sqrt(len(gain))
        for level in TOLERANCES:
            lower, upper = interval(manifest.levels, quantiles, level, horizon)
            coverage = scores.coverage(lower, upper, future[:, horizon - 1])
            message = f"the {level}% interval covers {coverage:.1f}% at horizon {horizon}"
            assert abs(coverage - level) <= coverage_tolerance(level, horizon), message


# Trained networks


@pytest.fixture
def _no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip the HTML report and its charts, which take a third of a short training run."""
    monkeypatch.setattr(report, "write_report", lambda *_: None)


def train_on(series: Series, folder: Path) -> TrainingResult:
    """Train a small version of the default recipe on one series."""
    (folder / "made.csv").write_text("\n".join(["Close", *map(repr, series.prices.tolist())]), encoding="utf-8")
    recipe = load_recipe(
        str(RECIPES / "quick.toml"),
        data={"stocks": [], "csv": folder / "made.csv", "column": "Close", "synthetic_paths": 0},
        training={"epochs": 6, "learning_rate": 0.02, "batch": 128},
    )
    assert recipe.is_center_automatic
    return train_and_publish(recipe, "made", folder / "models", ProgressLines(), lambda _: None)


def one_step_score(published: TrainingResult) -> Score:
    (found,) = [score for score in published.evidence.scores if score.horizon == 1]
    return found


@pytest.mark.slow
@pytest.mark.usefixtures("_no_report")
def test_training_on_a_random_walk_publishes_no_point_skill(tmp_path: Path) -> None:
    done = train_on(simulator.random_walk(1, 4000, seed=5)[0], tmp_path)
    assert done.evidence.point_skill == "none"
    assert store.read_artifact(done.path).manifest.evidence.point_skill == "none"
    assert "No point skill" in done.evidence.summary
    assert one_step_score(done).skill <= 0.01


@pytest.mark.slow
@pytest.mark.usefixtures("_no_report")
def test_training_on_an_autoregression_publishes_its_skill(tmp_path: Path) -> None:
    """An autoregression with coefficient 0.5 makes a quarter of the variance predictable."""
    done = train_on(simulator.autoregressive(1, 4000, 5, 0.5)[0], tmp_path)
    assert done.evidence.point_skill == "some"
    assert store.read_artifact(done.path).manifest.calibration.center == "network"
    assert "beats repeating the last price" in done.evidence.summary
    score = one_step_score(done)
    assert 0.15 < score.skill < 0.35
    assert score.skill_p_value is not None
    assert score.skill_p_value < 0.01


# Stock splits


WALKS = 200
SPLIT_ROW = 100  # the first price after the split


@pytest.fixture(scope="module")
def smooth_prices() -> F64:
    """Prices without a split, of shape (WALKS, T), with a volatility of 1% per day."""
    return prices_of(simulator.random_walk(WALKS, 260, seed=2))


@pytest.fixture(scope="module")
def split_prices(smooth_prices: F64) -> F64:
    """The same prices with an unadjusted split: twice as high before it."""
    prices = smooth_prices.copy()
    prices[:, :SPLIT_ROW] *= 2
    return prices


def windows_ending_at(prices: F64, row: int, window: int) -> F64:
    """Return the windows whose last price is in this row, of shape (P, W)."""
    return prices[:, row - window + 1 : row + 1]


DAYS_AFTER_SPLIT = (0, 1, 2, 5, 10, 20, 40, 58)


@pytest.mark.parametrize(("days_after", "factor"), [(0, 8.0), (1, 8.0), (5, 7.0), (10, 5.0), (20, 4.0), (40, 2.5)])
def test_split_in_the_window_widens_intervals_moderately(
    manifest: Manifest, forecaster: Forecaster, smooth_prices: F64, split_prices: F64, days_after: int, factor: float
) -> None:
    """A volatility estimate that is not robust to the jump would be twenty times as large."""
    with_split = forecaster.forecast(windows_ending_at(split_prices, SPLIT_ROW + days_after, manifest.window))
    without = forecaster.forecast(windows_ending_at(smooth_prices, SPLIT_ROW + days_after, manifest.window))
    assert np.isfinite(with_split).all()
    for level in manifest.levels:
        for horizon in HORIZONS:
            lower, upper = interval(manifest.levels, with_split, level, horizon)
            smooth_lower, smooth_upper = interval(manifest.levels, without, level, horizon)
            ratio = (upper - lower) / (smooth_upper - smooth_lower)
            assert ratio.max() <= factor
            assert ratio.min() >= 0.5  # the model expects a jump to be temporary, perhaps too confidently


@pytest.mark.parametrize("horizon", HORIZONS)
def test_split_in_the_window_hardly_reduces_coverage(
    manifest: Manifest, forecaster: Forecaster, split_prices: F64, horizon: int
) -> None:
    for days_after in DAYS_AFTER_SPLIT:
        row = SPLIT_ROW + days_after
        quantiles = forecaster.forecast(windows_ending_at(split_prices, row, manifest.window))
        for level, tolerance in TOLERANCES.items():
            lower, upper = interval(manifest.levels, quantiles, level, horizon)
            coverage = scores.coverage(lower, upper, split_prices[:, row + horizon])
            message = f"the {level}% interval covers {coverage:.1f}% {days_after} days after the split"
            assert coverage >= level - 2 * tolerance, message


@pytest.mark.parametrize("days_after", [59, 60, 100])
def test_split_before_the_window_has_no_effect(
    manifest: Manifest, forecaster: Forecaster, smooth_prices: F64, split_prices: F64, days_after: int
) -> None:
    window = manifest.window
    row = SPLIT_ROW + days_after
    assert days_after >= window - 1
    later = windows_ending_at(split_prices, row, window)
    without = windows_ending_at(smooth_prices, row, window)
    np.testing.assert_array_equal(forecaster.forecast(later), forecaster.forecast(without))
    np.testing.assert_allclose(forecaster.forecast(later / 2), forecaster.forecast(later) / 2, rtol=1e-6)


@pytest.mark.parametrize("walk", range(10))
def test_likely_split_warning_lasts_while_split_is_in_window(
    manifest: Manifest, forecaster: Forecaster, smooth_prices: F64, split_prices: F64, walk: int
) -> None:
    rows = range(SPLIT_ROW - 3, SPLIT_ROW + manifest.window + 3)
    for prices, has_split in ((split_prices, True), (smooth_prices, False)):
        packed = [pack_window(prices[walk, row - manifest.window + 1 : row + 1].tolist()) for row in rows]
        warnings = [{warning.code for warning in forecast.warnings} for forecast in forecaster.forecast_packed(packed)]
        for row, codes in zip(rows, warnings, strict=True):
            is_inside = has_split and SPLIT_ROW <= row < SPLIT_ROW + manifest.window - 1
            assert ("likely_split" in codes) == is_inside
