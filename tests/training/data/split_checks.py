"""Strategies, series of row numbers, and checks of samples for the tests of splits."""

from collections.abc import Sequence

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

from tests.training.conftest import Dates, daily_dates, make_series
from training.data.series import DataError, Series
from training.data.split import Blocks, Samples, split_by_time
from training.recipe import SplitConfig

PROPERTY = settings(deadline=None, max_examples=60)

windows = st.integers(2, 30)
horizons = st.integers(1, 8)


@st.composite
def splits(draw: st.DrawFn, least_test: int = 1) -> SplitConfig:
    """Splits in whole percents. Every block may be empty except, with `least_test`, the test block."""
    test = draw(st.integers(least_test, 50))
    validation = draw(st.sampled_from([0, 0, 1, 5, 10, 20]))
    calibration = draw(st.sampled_from([0, 0, 1, 5, 10, 19]))
    return SplitConfig(validation=validation / 100, calibration=calibration / 100, test=test / 100)


@st.composite
def calendars(draw: st.DrawFn) -> Dates:
    """Dates from 2000 on, with days missing at regular intervals, like holidays."""
    begins = draw(st.integers(0, 700))
    count = draw(st.integers(60, 500))
    every = draw(st.integers(2, 9))
    offsets = np.arange(begins, begins + count)
    chosen: Dates = daily_dates("2000-01-01", 1200)[offsets[offsets % every != 0]]
    return chosen


def numbered(rows: int, name: str = "numbered", dates: Dates | None = None) -> Series:
    return make_series(np.arange(1.0, rows + 1), name, dates)


def numbered_path(rows: int, number: int) -> Series:
    """A path whose prices are 1000 times its number plus the row."""
    return make_series(np.arange(1000.0 * number, 1000 * number + rows), f"path {number}")


def paths_of(samples: Samples) -> list[int]:
    """The number of the path that each sample is cut from. Checks that the prices are consecutive."""
    whole = np.concatenate([samples.windows, samples.futures], axis=1)  # (N, W+H)
    assert (np.diff(whole, axis=1) == 1).all()
    numbers: list[int] = (whole[:, 0] // 1000).astype(int).tolist()
    return numbers


def cut(
    series: Sequence[Series], split: SplitConfig, window: int, horizon: int, test_rows: int | None = None
) -> Blocks | None:
    """The blocks, or None if the series are too short."""
    try:
        return split_by_time(series, split, window, horizon, test_rows)
    except DataError:
        return None


def rows_of(samples: Samples) -> set[int]:
    """The rows of windows and futures, from 0."""
    return set(np.concatenate([samples.windows.ravel(), samples.futures.ravel()]).astype(int) - 1)


def future_rows(samples: Samples) -> set[int]:
    return set(samples.futures.ravel().astype(int) - 1)


def future_dates(samples: Samples) -> tuple[np.datetime64, np.datetime64]:
    """The first and the last date of the futures."""
    assert samples.series.dates is not None
    horizon = samples.futures.shape[1]
    return samples.series.dates[samples.origins[0] + 1], samples.series.dates[samples.origins[-1] + horizon]


def check_contents(samples: Samples) -> None:
    """Check that every window and future is the slice of the prices at its origin."""
    window, horizon = samples.windows.shape[1], samples.futures.shape[1]
    assert len(samples) == len(samples.origins) == len(samples.windows) == len(samples.futures) > 0
    for origin, past, future in zip(samples.origins, samples.windows, samples.futures, strict=True):
        assert past.tolist() == samples.series.prices[origin - window + 1 : origin + 1].tolist()
        assert future.tolist() == samples.series.prices[origin + 1 : origin + horizon + 1].tolist()
