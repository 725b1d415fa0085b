"""Helpers and fixtures for the tests of `training`.

They build series, samples, scores, backtests and forecasters with known properties. Importing this module does not
import Keras.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from app.artifact.affine import Affine
from app.artifact.arrays import F32, F64
from app.artifact.evidence import Score
from app.artifact.manifest import Calibration, LogReturnParameters, TrainingRange, quantile_probabilities
from app.artifact.transform import LogReturn
from app.inference.forecaster import Forecaster
from tests.conftest import MODELS
from training.data.series import Series
from training.data.simulator import random_walk
from training.data.split import Samples, split_by_path
from training.evaluation import backtest
from training.evaluation.backtest import Backtest
from training.evaluation.published_model import PublishedModel, open_model
from training.evaluation.scoring import score_backtest
from training.recipe import Recipe, SplitConfig
from training.recipe_files import load_recipe

ROOT = Path(__file__).parent.parent.parent
RECIPES = Path(__file__).parent / "recipes_for_tests"
COEFFICIENT = 0.4  # of the AR(1) that `ar1_network` forecasts

Center = Literal["network", "last_price"]
Dates = npt.NDArray[np.datetime64]


def quick_recipe(name: str = "quick", **changes: Any) -> Recipe:
    """Load a test recipe that trains in seconds."""
    return load_recipe(str(RECIPES / f"{name}.toml"), **changes)


def daily_dates(first: str, count: int) -> Dates:
    """Return `count` consecutive days."""
    return (np.datetime64(first, "D") + np.arange(count)).astype("datetime64[s]")


def make_series(prices: Sequence[float] | F64, name: str = "made", dates: Dates | None = None) -> Series:
    """Wrap prices in a series that claims to come from a CSV file."""
    return Series(name, np.asarray(prices, dtype=np.float64), dates, f"{name}.csv, column Close", "0" * 64)


def write_csv(path: Path, prices: F64, first: str | None = "2001-01-01") -> Path:
    """Write a CSV file of prices, with consecutive dates unless `first` is None."""
    head, cells = "Close", [f"{price!r}" for price in prices.tolist()]
    if first is not None:
        head, cells = (
            "Date,Close",
            [f"{day},{cell}" for day, cell in zip(_iso_dates(first, len(cells)), cells, strict=True)],
        )
    path.write_text("\n".join([head, *cells]) + "\n", encoding="utf-8")
    return path


def _iso_dates(first: str, count: int) -> list[str]:
    return [str(day) for day in daily_dates(first, count).astype("datetime64[D]")]


def recipe_from_csv(
    name: str, csv: Path, test_csv: Path | None = None, column: str = "Close", **changes: Any
) -> Recipe:
    """Load a quick recipe and replace its stocks and simulated paths by CSV files."""
    prices = {"stocks": [], "csv": csv, "test_csv": test_csv, "column": column, "synthetic_paths": 0}
    return quick_recipe(name, data=prices, **changes)


def write_price_file(path: Path, first: str, count: int) -> Path:
    """Write a CSV file of daily prices as websites export it: newest first, with thousands separators."""
    prices = 1500 * random_walk(1, count, count)[0].prices / 100
    lines = [f'{day},"{price:,.2f}"' for day, price in zip(_iso_dates(first, count), prices, strict=True)]
    path.write_text("\n".join(["Date,Open", *lines[::-1]]) + "\n", encoding="utf-8")
    return path


def random_walk_series(rows: int = 1000) -> Series:
    """Simulate a dated random walk."""
    return make_series(random_walk(1, rows, 1)[0].prices, "walk", daily_dates("2001-01-01", rows))


def make_samples(series: Series, window: int, horizon: int) -> Samples:
    """Return every sample of a series."""
    return split_by_path([series], SplitConfig(test=0), window, horizon).train[0]


def make_score(**changes: Any) -> Score:
    """Return the score of a forecaster that repeats the last price, with some figures replaced."""
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


class FunctionEngine:
    """An engine whose network is a Python function from (B, T, 1) inputs to (B, H·Q) outputs."""

    name = "function"
    concurrent_calls = 1
    preferred_batch_windows = 1
    is_on_device = False
    steps_and_features = (59, 1)

    def __init__(self, network: Callable[[F32], F64]) -> None:
        self._network = network

    def run(self, inputs: F32) -> F32:
        return self._network(inputs).astype(np.float32)


def log_return_forecaster(
    network: Callable[[F32], F64],
    quantiles: Sequence[float] = (0.5,),
    calibration: Calibration | None = None,
    affine: Affine | None = None,
) -> Forecaster:
    """Wrap a function in the forecaster that the service uses; an output of 0 forecasts the last price."""
    return Forecaster(
        LogReturn(LogReturnParameters(), affine or Affine(1.0, 0.0)),
        FunctionEngine(network),
        calibration or Calibration(center="network", offsets=[[0.0] * (len(quantiles) // 2)]),
        quantiles,
        [
            TrainingRange(quantity="volatility", low=0.0, high=1.0),
            TrainingRange(quantity="last step", low=-100.0, high=100.0),
        ],
    )


def ar1_network(inputs: F32) -> F64:
    """Forecast COEFFICIENT times the last return, as an AR(1) does."""
    return COEFFICIENT * inputs[:, -1].astype(np.float64)


def zero_outputs(inputs: F32) -> F64:
    """A network that forecasts the last price, one step ahead."""
    return np.zeros((len(inputs), 1))


def gaussian_forecaster(levels: Sequence[int] = (), horizon: int = 1, center: Center = "network") -> Forecaster:
    """Forecast a Gaussian random walk around the last price, with the volatility of the window."""
    quantiles = quantile_probabilities(levels)
    outputs = np.tile(stats.norm.ppf(quantiles), horizon)  # (H·Q,)
    calibration = Calibration(center=center, offsets=[[0.0] * len(levels)] * horizon)
    return log_return_forecaster(lambda inputs: np.tile(outputs, (len(inputs), 1)), quantiles, calibration)


def make_backtest(
    series: Series, levels: Sequence[int] = (50, 80, 95), horizon: int = 1, window: int = 60, seen: bool = True
) -> Backtest:
    """Backtest `gaussian_forecaster` on a whole series."""
    samples = make_samples(series, window, horizon)
    return backtest.run_backtest(
        gaussian_forecaster(levels, horizon), samples, quantile_probabilities(levels), list(levels), seen
    )


def random_walk_samples(rows: int = 400, seed: int = 1) -> Samples:
    """Return every one-step sample of a simulated random walk, with windows of 60."""
    return make_samples(random_walk(1, rows, seed)[0], 60, 1)


def make_point_backtest(samples: Samples, forecast: F64) -> Backtest:
    """Wrap (N,) one-step point forecasts in a backtest."""
    return Backtest(samples, forecast[:, None, None], [0.5], [])


@pytest.fixture(scope="module")
def few_keras_batch_sizes() -> Iterator[None]:
    """Compile Keras engines for two batch sizes only; the others take seconds, for every model that is published."""
    from app.inference.engines.keras import KerasEngine  # imports Keras

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(KerasEngine.__init__, "__defaults__", ((1, 8),))
        yield


@pytest.fixture
def no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train without writing a report, for tests that do not read it."""
    monkeypatch.setattr("training.reports.report.write_report", lambda *_: None)


@pytest.fixture
def no_baselines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train without fitting and comparing baselines, for tests that do not read those figures."""
    monkeypatch.setattr("training.commands.train.score_backtest", partial(score_backtest, with_baselines=False))


@pytest.fixture(scope="session")
def default_model() -> PublishedModel:
    """The shipped default model."""
    return open_model(MODELS, "default")


def with_manifest(model: PublishedModel, **changes: Any) -> PublishedModel:
    """Return the same model with parts of its manifest replaced."""
    return PublishedModel(model.manifest.model_copy(update=changes), model.forecaster, model._transform)


def with_training_data(model: PublishedModel, series: Series, **recipe_changes: Any) -> PublishedModel:
    """Return the same model with a manifest that claims it was trained on the file of `series`."""
    instrument = model.manifest.data[0].model_copy(
        update={"name": series.name, "sha256": series.sha256, "source": series.source}
    )
    content = model.manifest.recipe | {"data": {"stocks": [], "column": "Close"}} | recipe_changes
    return with_manifest(model, recipe=content, data=[instrument])


@pytest.fixture(scope="session")
def google_prices() -> Path:
    """The directory of the tutorial's two price files, which are not part of the repository."""
    folder = Path(os.environ.get("GOOGLE", ROOT.parent / "shared" / "data" / "google"))
    missing = [
        name
        for name in ("Google_Stock_Price_Train.csv", "Google_Stock_Price_Test.csv")
        if not (folder / name).is_file()
    ]
    if missing:
        pytest.skip(f"{missing[0]} is not in {folder}; set the environment variable GOOGLE to its directory")
    return folder
