"""What the tests of `training` share: series, samples and scores of given figures, and engines that say what is asked.

Importing this imports no Keras.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from app.artifact.affine import Affine
from app.artifact.evidence import Score
from app.artifact.manifest import Calibration, LogReturnParameters, TrainingRange, quantile_probabilities
from app.artifact.transform import F32, F64, LogReturn
from app.inference.forecaster import Forecaster
from training.data.blocks import Samples, split_by_path
from training.data.series import Series
from training.evaluation import backtest
from training.evaluation.backtest import Backtest
from training.recipe import SplitConfig

ROOT = Path(__file__).parent.parent.parent
RECIPES = Path(__file__).parent / "recipes_for_tests"

Center = Literal["network", "last_price"]
Dates = npt.NDArray[np.datetime64]


def days(first: str, count: int) -> Dates:
    """`count` days in a row."""
    return (np.datetime64(first, "D") + np.arange(count)).astype("datetime64[s]")


def a_series(prices: Sequence[float] | F64, name: str = "made", dates: Dates | None = None) -> Series:
    return Series(name, np.asarray(prices, dtype=np.float64), dates, f"{name}.csv, column Close", "0" * 64)


def samples_of(series: Series, window: int, horizon: int) -> Samples:
    """Every sample of a series."""
    return split_by_path([series], SplitConfig(test=0), window, horizon).train[0]


def a_score(**changes: Any) -> Score:
    """A score with these figures, and otherwise those of a forecaster that repeats the last price."""
    figures: dict[str, Any] = {
        "instrument": "made",
        "horizon": 1,
        "origins": 100,
        "first_date": None,
        "last_date": None,
        "rmse": 2.0,
        "rmse_last_price": 2.0,
        "mae": 1.5,
        "mae_last_price": 1.5,
        "skill": 0.0,
        "skill_p_value": None,
        "copy_ratio": 0.0,
        "correlation_last": 1.0,
        "correlation_next": 0.9,
        "coverage": {},
        "pinball": None,
        "pinball_random_walk": None,
    }
    return Score.model_validate(figures | changes)


class SayingEngine:
    """An engine whose network is a function from (B, T, 1) inputs to (B, H·Q) outputs."""

    name = "saying"
    concurrent_calls = 1
    preferred_batch_windows = 1
    is_on_device = False
    steps_and_features = (59, 1)

    def __init__(self, say: Callable[[F32], F64]) -> None:
        self._say = say

    def run(self, inputs: F32) -> F32:
        return self._say(inputs).astype(np.float32)


def log_return_forecaster(
    say: Callable[[F32], F64],
    quantiles: Sequence[float] = (0.5,),
    calibration: Calibration | None = None,
    affine: Affine | None = None,
) -> Forecaster:
    """A forecaster as it is served, around a network that is a function; an output of 0 is the last price."""
    return Forecaster(
        LogReturn(LogReturnParameters(), affine or Affine(1.0, 0.0)),
        SayingEngine(say),
        calibration or Calibration(center="network", offsets=[[0.0] * (len(quantiles) // 2)]),
        quantiles,
        [
            TrainingRange(quantity="volatility", low=0.0, high=1.0),
            TrainingRange(quantity="last step", low=-100.0, high=100.0),
        ],
    )


def says_last_price(inputs: F32) -> F64:
    return np.zeros((len(inputs), 1))


def gaussian(levels: Sequence[int] = (), horizon: int = 1, center: Center = "network") -> Forecaster:
    """A forecaster of a Gaussian random walk around the last price, with the window's own volatility."""
    quantiles = quantile_probabilities(levels)
    outputs = np.tile(stats.norm.ppf(quantiles), horizon)  # (H·Q,)
    calibration = Calibration(center=center, offsets=[[0.0] * len(levels)] * horizon)
    return log_return_forecaster(lambda inputs: np.tile(outputs, (len(inputs), 1)), quantiles, calibration)


def a_backtest_of(
    series: Series, levels: Sequence[int] = (50, 80, 95), horizon: int = 1, window: int = 60, seen: bool = True
) -> Backtest:
    """All of a series, forecast by `gaussian`."""
    samples = samples_of(series, window, horizon)
    return backtest.run_backtest(gaussian(levels, horizon), samples, quantile_probabilities(levels), list(levels), seen)


@pytest.fixture(scope="session")
def google_prices() -> Path:
    """The folder of the tutorial's own two files, which are not part of the repository."""
    folder = Path(os.environ.get("GOOGLE", ROOT.parent / "shared" / "data" / "google"))
    missing = [
        name
        for name in ("Google_Stock_Price_Train.csv", "Google_Stock_Price_Test.csv")
        if not (folder / name).is_file()
    ]
    if missing:
        pytest.skip(f"no {missing[0]} in {folder}; the environment variable GOOGLE may name another folder")
    return folder
