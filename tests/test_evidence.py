"""What the shipped default model claims, measured again on the sample stocks by the code that serves it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.artifact import store
from app.forecaster import Forecaster, load
from tests.conftest import ROOT
from training import data

LAST = 0.2  # of each stock's rows: the test block, or inside it
WINDOW, HORIZON = 60, 5


@pytest.fixture(scope="module")
def forecaster() -> Forecaster:
    return load(store.read_version(ROOT / "models", "default", "1"), "onnx")


@pytest.mark.parametrize("name", ["AAPL", "GOOG", "IBM", "MSFT"])
def test_on_the_last_fifth_of_each_stock_it_is_as_good_as_the_last_price_and_covers_what_it_says(
    forecaster: Forecaster, name: str
) -> None:
    [series] = data.stocks([name])
    rows = np.lib.stride_tricks.sliding_window_view(series.prices, WINDOW + 1)
    rows = rows[-round(LAST * len(series.prices)) :]  # every window whose next price lies in the last fifth
    outcome = rows[:, -1]
    quantiles = forecaster.forecast(rows[:, :WINDOW])[:, 0]  # (N, 9), one step ahead
    last_price_rmse = np.sqrt(np.mean((rows[:, WINDOW - 1] - outcome) ** 2))
    assert np.sqrt(np.mean((quantiles[:, 4] - outcome) ** 2)) <= 1.002 * last_price_rmse
    for level, lower, upper in ((80, 2, 6), (95, 0, 8)):
        covered = 100 * np.mean((quantiles[:, lower] <= outcome) & (outcome <= quantiles[:, upper]))
        assert abs(covered - level) <= 3, f"{level}% covers {covered:.1f}%"


@settings(max_examples=50, deadline=None)
@given(st.floats(1e-6, 1e6), st.integers(0, 2**32 - 1))
def test_its_forecasts_scale_with_the_price(forecaster: Forecaster, factor: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    windows = 100 * np.exp(rng.normal(scale=0.02, size=(3, WINDOW)).cumsum(axis=1))
    np.testing.assert_allclose(forecaster.forecast(factor * windows), factor * forecaster.forecast(windows), rtol=1e-6)
