"""Blocks: however the time axis is cut, no row is in the samples of two blocks.

The prices are row numbers from 1, so that a sample shows which rows it contains.
"""

from collections.abc import Sequence
from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.training.conftest import Dates, daily_dates, make_series
from training.data.sample_stocks import load_sample_stocks
from training.data.series import DataError, Series
from training.data.split import Blocks, Samples, split_blocks, split_by_path, split_by_time
from training.recipe import SplitConfig
from training.recipe_files import load_recipe, recipe_names

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


# One series without dates


@PROPERTY
@given(rows=st.integers(30, 600), split=splits(), window=windows, horizon=horizons)
def test_split_by_time_blocks_share_no_row(rows: int, split: SplitConfig, window: int, horizon: int) -> None:
    blocks = cut([numbered(rows)], split, window, horizon)
    assume(blocks is not None)
    assert blocks is not None
    found = [samples for block in blocks for samples in block]
    for samples in found:
        check_contents(samples)
    for one, other in combinations(found, 2):
        assert not rows_of(one) & rows_of(other)
    for earlier, later in pairwise(found):  # in the order train, validation, calibration, test
        assert max(rows_of(earlier)) < min(rows_of(later))


@PROPERTY
@given(hundreds=st.integers(1, 8), split=splits(), window=windows, horizon=horizons)
def test_split_by_time_block_has_every_sample_that_fits(
    hundreds: int, split: SplitConfig, window: int, horizon: int
) -> None:
    """Checks one origin at a time. The rows are hundreds, so that every cut is a whole row."""
    rows = 100 * hundreds
    shares = [round(100 * share) for share in (split.train, split.validation, split.calibration, split.test)]
    starts = [hundreds * sum(shares[:i]) for i in range(4)]
    blocks = cut([numbered(rows)], split, window, horizon)
    assume(blocks is not None)
    assert blocks is not None
    for i, block in enumerate(blocks):
        later = [starts[k] for k in range(i + 1, 4) if shares[k]]
        end = later[0] - window - horizon if later else rows
        expected = [
            origin
            for origin in range(rows)
            if shares[i] and origin >= window - 1 and origin + 1 >= starts[i] and origin + horizon < end
        ]
        assert [origin for samples in block for origin in samples.origins] == expected


@PROPERTY
@given(rows=st.integers(30, 600), split=splits(), window=windows, horizon=horizons)
def test_split_by_time_test_block_is_the_last_fraction(
    rows: int, split: SplitConfig, window: int, horizon: int
) -> None:
    blocks = cut([numbered(rows)], split, window, horizon)
    assume(blocks is not None)
    assert blocks is not None
    begins = round((split.train + split.validation + split.calibration) * rows)
    assert future_rows(blocks.test[0]) == set(range(begins, rows))


def test_split_by_time_block_without_share_needs_no_gap() -> None:
    blocks = split_by_time([numbered(200)], SplitConfig(test=0.25), window=10, horizon=2)
    assert (blocks.validation, blocks.calibration) == ([], [])
    assert rows_of(blocks.train[0]) == set(range(150 - 12))
    assert rows_of(blocks.test[0]) == set(range(140, 200))


def test_split_by_time_block_shorter_than_a_sample_is_empty() -> None:
    split = SplitConfig(validation=0.05, calibration=0.05, test=0.2)
    blocks = split_by_time([numbered(200)], split, window=10, horizon=2)
    assert (blocks.validation, blocks.calibration) == ([], [])
    assert blocks.train
    assert blocks.test


@pytest.mark.parametrize("rows", [2, 11, 12, 13, 40])
def test_split_by_time_too_few_prices_are_rejected(rows: int) -> None:
    with pytest.raises(DataError) as caught:
        split_by_time([numbered(rows, "short")], SplitConfig(test=0.2), window=60, horizon=5)
    assert str(caught.value) == (
        f"short: {rows} prices are too few to train and test with a window of 60 and a horizon of 5"
    )


def test_split_by_time_skips_a_short_series_among_long_ones() -> None:
    blocks = split_by_time([numbered(300, "long"), numbered(15, "short")], SplitConfig(test=0.2), window=20, horizon=1)
    assert [samples.series.name for block in blocks for samples in block] == ["long", "long"]


def test_split_by_time_error_names_all_short_series() -> None:
    with pytest.raises(DataError, match=r"^one, other: 15 prices are too few"):
        split_by_time([numbered(10, "one"), numbered(15, "other")], SplitConfig(test=0.2), window=20, horizon=1)


@pytest.mark.parametrize("split", [SplitConfig(test=0), SplitConfig(test=0.0001), SplitConfig(validation=0.2, test=0)])
@pytest.mark.parametrize("dates", [None, daily_dates("2001-01-01", 300)], ids=["undated", "dated"])
def test_split_by_time_without_test_rows_is_rejected(split: SplitConfig, dates: Dates | None) -> None:
    with pytest.raises(DataError, match="numbered"):
        split_by_time([numbered(300, dates=dates)], split, window=20, horizon=1)


# Many series with dates


@PROPERTY
@given(dates=st.lists(calendars(), min_size=1, max_size=4), split=splits(), window=windows, horizon=horizons)
def test_split_by_time_cuts_dated_series_at_shared_dates(
    dates: list[Dates], split: SplitConfig, window: int, horizon: int
) -> None:
    series = [numbered(len(each), f"series {i}", each) for i, each in enumerate(dates)]
    blocks = cut(series, split, window, horizon)
    assume(blocks is not None)
    assert blocks is not None
    for block in blocks:
        for samples in block:
            check_contents(samples)
    for earlier, later in combinations(blocks, 2):
        for one in earlier:
            for other in later:
                assert future_dates(one)[1] < future_dates(other)[0]
                if one.series is other.series:
                    assert not rows_of(one) & rows_of(other)


def test_split_by_time_shared_dates_divide_all_dates() -> None:
    early, late = (
        daily_dates("2001-01-01", 100),
        daily_dates("2001-03-01", 200),
    )  # from day 0 to 99, and from day 59 to 258
    blocks = split_by_time([numbered(100, "early", early), numbered(200, "late", late)], SplitConfig(test=0.5), 5, 1)
    middle = daily_dates("2001-01-01", 259)[round(0.5 * 259)]
    assert [samples.series.name for samples in blocks.train] == ["early", "late"]
    assert [samples.series.name for samples in blocks.test] == ["late"]  # the early series ended before
    assert future_dates(blocks.test[0])[0] == middle
    assert future_rows(blocks.train[0]) == set(range(5, 100 - 6))
    assert future_dates(blocks.train[1])[1] < middle


def test_split_by_time_cuts_an_undated_series_by_rows() -> None:
    series = [numbered(100, "dated", daily_dates("2001-01-01", 100)), numbered(300, "undated")]
    blocks = split_by_time(series, SplitConfig(test=0.5), 5, 1)
    assert [min(future_rows(samples)) for samples in blocks.test] == [50, 150]


# A separate test file


@PROPERTY
@given(
    rows=st.integers(30, 400),
    test_rows=st.integers(1, 60),
    split=splits(least_test=0),
    window=windows,
    horizon=horizons,
    dated=st.booleans(),
)
def test_split_by_time_test_rows_are_all_forecast(
    rows: int, test_rows: int, split: SplitConfig, window: int, horizon: int, dated: bool
) -> None:
    assume(test_rows >= horizon)
    total = rows + test_rows
    series = numbered(total, dates=daily_dates("2001-01-01", total) if dated else None)
    blocks = cut([series], split, window, horizon, test_rows)
    assume(blocks is not None)
    assert blocks is not None
    (test,) = blocks.test
    check_contents(test)
    assert future_rows(test) == set(range(rows, total))
    assert len(test) == test_rows - horizon + 1
    assert min(rows_of(test)) == rows - window  # the first window ends right before the first test row
    others = [samples for block in blocks[:3] for samples in block]
    for samples in others:
        check_contents(samples)
        assert max(rows_of(samples)) < rows
    for one, other in combinations(others, 2):
        assert not rows_of(one) & rows_of(other)


def test_split_by_time_trains_on_all_rows_before_test_rows() -> None:
    """The numbers of the tutorial: 1258 days to train on and 20 to predict."""
    blocks = split_by_time([numbered(1258 + 20)], SplitConfig(test=0.2), window=60, horizon=1, test_rows=20)
    assert len(blocks.train[0]) == 1198
    assert rows_of(blocks.train[0]) == set(range(1258))
    assert len(blocks.test[0]) == 20


def test_split_by_time_shares_divide_rows_before_test_rows() -> None:
    split = SplitConfig(validation=0.2, calibration=0.1, test=0.2)
    blocks = split_by_time([numbered(800 + 50)], split, window=10, horizon=2, test_rows=50)
    assert min(future_rows(blocks.validation[0])) == 500  # 5/8 of 800
    assert min(future_rows(blocks.calibration[0])) == 700
    assert max(future_rows(blocks.calibration[0])) == 799


def test_split_by_time_fewer_test_rows_than_steps_is_rejected() -> None:
    with pytest.raises(DataError, match="too few"):
        split_by_time([numbered(300)], SplitConfig(test=0.2), window=10, horizon=5, test_rows=4)


# Independent paths


@PROPERTY
@given(paths=st.integers(1, 60), split=splits(least_test=0), window=windows, horizon=horizons)
def test_split_by_path_keeps_each_path_in_one_block(paths: int, split: SplitConfig, window: int, horizon: int) -> None:
    series = [numbered_path(50, i) for i in range(paths)]
    blocks = split_by_path(series, split, window, horizon)
    assert all(len(block) <= 1 for block in blocks)  # the paths of a block are one series
    per_path = 50 - window - horizon + 1
    found = [path for block in blocks for samples in block for path in paths_of(samples)]
    assert found == [i for i in range(paths) for _ in range(per_path)]
    shares = (split.train, split.validation, split.calibration, split.test)
    for block, share in zip(blocks, shares, strict=True):
        assert abs(sum(map(len, block)) / per_path - share * paths) <= 1


@PROPERTY
@given(rows=st.integers(32, 120), window=windows, horizon=horizons, stride=st.integers(1, 40), paths=st.integers(1, 4))
def test_split_by_path_stride_skips_windows(rows: int, window: int, horizon: int, stride: int, paths: int) -> None:
    assume(rows >= window + horizon)
    series = [numbered_path(rows, i) for i in range(paths)]
    ((every,), *_) = split_by_path(series, SplitConfig(test=0), window, horizon)
    ((some,), *_) = split_by_path(series, SplitConfig(test=0), window, horizon, stride)
    per_path = len(every) // paths
    chosen = [path * per_path + i for path in range(paths) for i in range(0, per_path, stride)]
    assert some.windows.tolist() == every.windows[chosen].tolist()
    assert some.futures.tolist() == every.futures[chosen].tolist()
    assert len(some) == len(some.origins)


def test_split_by_path_single_path_keeps_its_series() -> None:
    series = numbered(50)
    blocks = split_by_path([series], SplitConfig(test=0), window=8, horizon=3, stride=7)
    assert blocks.train[0].series is series
    check_contents(blocks.train[0])
    assert np.diff(blocks.train[0].origins).tolist() == [7] * 5


def test_split_by_path_skips_a_short_path() -> None:
    series = [numbered(10), numbered(11), numbered(9)]
    blocks = split_by_path(series, SplitConfig(test=0), window=8, horizon=3)
    assert [len(samples) for samples in blocks.train] == [1]
    assert blocks.train[0].series is series[1]


def test_split_by_path_pools_paths_under_one_name() -> None:
    blocks = split_by_path([numbered(12, "one"), numbered(13, "other")], SplitConfig(test=0), window=8, horizon=3)
    (pooled,) = blocks.train
    assert (pooled.series.name, pooled.series.dates) == ("synthetic", None)
    assert pooled.origins.tolist() == list(range(2 + 3))


def test_split_by_path_no_paths_gives_empty_blocks() -> None:
    assert split_by_path([], SplitConfig(), 10, 1) == ([], [], [], [])


# Real series and simulated paths together


def test_split_blocks_evaluates_real_series_only() -> None:
    split = SplitConfig(validation=0.1, calibration=0.1, test=0.2)
    stock = numbered(1000, "stock", daily_dates("2001-01-01", 1000))
    simulated = [numbered_path(120, i) for i in range(20)]
    blocks, evaluation = split_blocks([stock], simulated, split, window=20, horizon=2, stride=5)
    for block in evaluation:
        assert [samples.series for samples in block] == [stock]
    assert [samples.series for samples in blocks.test] == [stock]
    assert [len(block) for block in blocks] == [1 + 1, 1 + 1, 1 + 1, 1]
    per_path = len(range(0, 120 - 20 - 2 + 1, 5))
    assert [len(block[1]) for block in blocks[:3]] == [9 * per_path, 2 * per_path, 9 * per_path]
    paths = [path for block in blocks[:3] for path in paths_of(block[1])]
    assert paths == [i for i in range(20) for _ in range(per_path)]


def test_split_blocks_without_calibration_uses_no_paths_for_it() -> None:
    stock = numbered(1000, "stock", daily_dates("2001-01-01", 1000))
    blocks, _ = split_blocks(
        [stock], [numbered_path(120, i) for i in range(10)], SplitConfig(validation=0.5), window=20, horizon=2
    )
    assert [len(block) for block in blocks] == [1 + 1, 1 + 1, 0, 1]
    assert len(blocks.train[1]) == len(blocks.validation[1])


@pytest.mark.parametrize("stride", [1, 4])
def test_split_blocks_without_real_series_evaluates_paths(stride: int) -> None:
    split = SplitConfig(calibration=0.2, test=0.2)
    blocks, evaluation = split_blocks(
        [], [numbered_path(100, i) for i in range(20)], split, window=20, horizon=2, stride=stride
    )
    per_path = len(range(0, 79, stride))
    for block, paths in zip(blocks, ([*range(12)], [], [*range(12, 16)], [*range(16, 20)]), strict=True):
        assert [path for samples in block for path in paths_of(samples)] == [i for i in paths for _ in range(per_path)]
    assert evaluation == blocks


@pytest.mark.parametrize(("paths", "length"), [(1, 100), (2, 100), (20, 21), (0, 0)])
def test_split_blocks_too_few_or_short_paths_are_rejected(paths: int, length: int) -> None:
    with pytest.raises(DataError, match="paths are too few or too short"):
        split_blocks([], [numbered(length) for _ in range(paths)], SplitConfig(test=0.2), window=20, horizon=2)


@pytest.mark.parametrize("name", recipe_names())
def test_split_blocks_of_a_shipped_recipe_are_not_empty(name: str) -> None:
    """Uses its sample stocks, but not its simulated paths, which take seconds."""
    recipe = load_recipe(name)
    stocks = load_sample_stocks(recipe.data.stocks, recipe.data.column)
    _, evaluation = split_blocks(stocks, [], recipe.split, recipe.window, recipe.horizon)
    shares = (recipe.split.train, recipe.split.validation, recipe.split.calibration, recipe.split.test)
    for block, share in zip(evaluation, shares, strict=True):
        assert len(block) == (len(stocks) if share else 0)
