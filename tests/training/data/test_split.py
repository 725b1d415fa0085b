"""Blocks: however the time axis is cut, no row is in the samples of two blocks.

The prices are row numbers from 1, so that a sample shows which rows it contains.
"""

from itertools import combinations, pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.training.conftest import Dates, daily_dates
from tests.training.data.split_checks import (
    PROPERTY,
    calendars,
    check_contents,
    cut,
    future_dates,
    future_rows,
    horizons,
    numbered,
    rows_of,
    splits,
    windows,
)
from training.data.series import DataError
from training.data.split import split_by_time
from training.recipe import SplitConfig

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
