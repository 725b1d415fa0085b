"""Blocks of time: what is in one block is in no other, in whatever way the time axis is cut.

Prices are numbered from 1 here, so that a sample says which rows it is made of.
"""

from collections.abc import Sequence
from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.training.conftest import Dates, daily_dates, make_series
from training import recipe
from training.data.blocks import Blocks, Samples, split_blocks, split_by_path, split_in_time
from training.data.sample_stocks import sample_stocks
from training.data.series import DataError, Series
from training.recipe import Split

PATIENT = settings(deadline=None, max_examples=60)

windows = st.integers(2, 30)
horizons = st.integers(1, 8)


@st.composite
def splits(draw: st.DrawFn, least_test: int = 1) -> Split:
    """In whole percents, any of them none but, if `least_test`, the test block's."""
    test = draw(st.integers(least_test, 50))
    validation = draw(st.sampled_from([0, 0, 1, 5, 10, 20]))
    calibration = draw(st.sampled_from([0, 0, 1, 5, 10, 19]))
    return Split(validation=validation / 100, calibration=calibration / 100, test=test / 100)


@st.composite
def calendars(draw: st.DrawFn) -> Dates:
    """Some 60 to 500 days of the years from 2000 on, with holidays."""
    begins = draw(st.integers(0, 700))
    count = draw(st.integers(60, 500))
    every = draw(st.integers(2, 9))
    spent = np.arange(begins, begins + count)
    chosen: Dates = daily_dates("2000-01-01", 1200)[spent[spent % every != 0]]
    return chosen


def numbered(rows: int, name: str = "made", dates: Dates | None = None) -> Series:
    return make_series(np.arange(1.0, rows + 1), name, dates)


def a_path(rows: int, number: int) -> Series:
    """A path whose prices say which one it is, by their thousands, and which row they are."""
    return make_series(np.arange(1000.0 * number, 1000 * number + rows), f"path {number}")


def paths_of(samples: Samples) -> list[int]:
    """Of each sample, the number of the `a_path` that it is cut from; its prices follow each other."""
    whole = np.concatenate([samples.windows, samples.futures], axis=1)  # (N, W+H)
    assert (np.diff(whole, axis=1) == 1).all()
    numbers: list[int] = (whole[:, 0] // 1000).astype(int).tolist()
    return numbers


def cut(
    series: Sequence[Series], split: Split, window: int, horizon: int, test_rows: int | None = None
) -> Blocks | None:
    """The blocks, or None where the series are too short."""
    try:
        return split_in_time(series, split, window, horizon, test_rows)
    except DataError:
        return None


def rows_of(samples: Samples) -> set[int]:
    """The rows, from 0, of windows and futures."""
    return set(np.concatenate([samples.windows.ravel(), samples.futures.ravel()]).astype(int) - 1)


def forecast_rows(samples: Samples) -> set[int]:
    return set(samples.futures.ravel().astype(int) - 1)


def forecast_dates(samples: Samples) -> tuple[np.datetime64, np.datetime64]:
    """The first and the last date that is forecast."""
    assert samples.series.dates is not None
    horizon = samples.futures.shape[1]
    return samples.series.dates[samples.origins[0] + 1], samples.series.dates[samples.origins[-1] + horizon]


def check_contents(samples: Samples) -> None:
    """Every window and future is the slice of the prices that its origin says."""
    window, horizon = samples.windows.shape[1], samples.futures.shape[1]
    assert len(samples) == len(samples.origins) == len(samples.windows) == len(samples.futures) > 0
    for origin, past, future in zip(samples.origins, samples.windows, samples.futures, strict=True):
        assert past.tolist() == samples.series.prices[origin - window + 1 : origin + 1].tolist()
        assert future.tolist() == samples.series.prices[origin + 1 : origin + horizon + 1].tolist()


# One series without dates


@PATIENT
@given(rows=st.integers(30, 600), split=splits(), window=windows, horizon=horizons)
def test_no_row_of_one_block_is_in_another(rows: int, split: Split, window: int, horizon: int) -> None:
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


@PATIENT
@given(hundreds=st.integers(1, 8), split=splits(), window=windows, horizon=horizons)
def test_a_block_has_every_sample_that_fits_into_it(hundreds: int, split: Split, window: int, horizon: int) -> None:
    """Counted one origin at a time; in hundreds of rows, so that every cut is a whole row."""
    rows = 100 * hundreds
    shares = [round(100 * share) for share in (split.train, split.validation, split.calibration, split.test)]
    starts = [hundreds * sum(shares[:i]) for i in range(4)]
    blocks = cut([numbered(rows)], split, window, horizon)
    assume(blocks is not None)
    assert blocks is not None
    for i, block in enumerate(blocks):
        later = [starts[k] for k in range(i + 1, 4) if shares[k]]
        end = later[0] - window - horizon if later else rows
        wanted = [
            origin
            for origin in range(rows)
            if shares[i] and origin >= window - 1 and origin + 1 >= starts[i] and origin + horizon < end
        ]
        assert [origin for samples in block for origin in samples.origins] == wanted


@PATIENT
@given(rows=st.integers(30, 600), split=splits(), window=windows, horizon=horizons)
def test_the_test_block_is_the_whole_last_fraction(rows: int, split: Split, window: int, horizon: int) -> None:
    blocks = cut([numbered(rows)], split, window, horizon)
    assume(blocks is not None)
    assert blocks is not None
    begins = round((split.train + split.validation + split.calibration) * rows)
    assert forecast_rows(blocks.test[0]) == set(range(begins, rows))


def test_a_block_without_a_share_is_empty_and_costs_no_gap() -> None:
    blocks = split_in_time([numbered(200)], Split(test=0.25), window=10, horizon=2)
    assert (blocks.validation, blocks.calibration) == ([], [])
    assert rows_of(blocks.train[0]) == set(range(150 - 12))
    assert rows_of(blocks.test[0]) == set(range(140, 200))


def test_a_block_too_short_for_a_sample_is_empty() -> None:
    split = Split(validation=0.05, calibration=0.05, test=0.2)
    blocks = split_in_time([numbered(200)], split, window=10, horizon=2)
    assert (blocks.validation, blocks.calibration) == ([], [])
    assert blocks.train
    assert blocks.test


@pytest.mark.parametrize("rows", [2, 11, 12, 13, 40])
def test_too_few_prices_are_refused_with_their_number(rows: int) -> None:
    with pytest.raises(DataError) as caught:
        split_in_time([numbered(rows, "short")], Split(test=0.2), window=60, horizon=5)
    assert str(caught.value) == (
        f"short: {rows} prices are too few to train and to test on windows of 60 and 5 steps ahead"
    )


def test_among_longer_series_one_that_is_too_short_is_left_out() -> None:
    blocks = split_in_time([numbered(300, "long"), numbered(15, "short")], Split(test=0.2), window=20, horizon=1)
    assert [samples.series.name for block in blocks for samples in block] == ["long", "long"]


def test_all_series_too_short_are_named_together() -> None:
    with pytest.raises(DataError, match=r"^one, other: 15 prices are too few"):
        split_in_time([numbered(10, "one"), numbered(15, "other")], Split(test=0.2), window=20, horizon=1)


@pytest.mark.parametrize("split", [Split(test=0), Split(test=0.0001), Split(validation=0.2, test=0)])
@pytest.mark.parametrize("dates", [None, daily_dates("2001-01-01", 300)], ids=["undated", "dated"])
def test_a_split_that_leaves_nothing_to_test_on_is_refused(split: Split, dates: Dates | None) -> None:
    with pytest.raises(DataError, match="made"):
        split_in_time([numbered(300, dates=dates)], split, window=20, horizon=1)


# Many series with dates


@PATIENT
@given(dates=st.lists(calendars(), min_size=1, max_size=4), split=splits(), window=windows, horizon=horizons)
def test_dated_series_are_cut_at_dates_they_share(dates: list[Dates], split: Split, window: int, horizon: int) -> None:
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
                assert forecast_dates(one)[1] < forecast_dates(other)[0]
                if one.series is other.series:
                    assert not rows_of(one) & rows_of(other)


def test_the_shared_dates_are_fractions_of_all_dates_together() -> None:
    early, late = (
        daily_dates("2001-01-01", 100),
        daily_dates("2001-03-01", 200),
    )  # from day 0 to 99, and from day 59 to 258
    blocks = split_in_time([numbered(100, "early", early), numbered(200, "late", late)], Split(test=0.5), 5, 1)
    middle = daily_dates("2001-01-01", 259)[round(0.5 * 259)]
    assert [samples.series.name for samples in blocks.train] == ["early", "late"]
    assert [samples.series.name for samples in blocks.test] == ["late"]  # the other had ended by then
    assert forecast_dates(blocks.test[0])[0] == middle
    assert forecast_rows(blocks.train[0]) == set(range(5, 100 - 6))
    assert forecast_dates(blocks.train[1])[1] < middle


def test_a_series_without_dates_beside_dated_ones_is_cut_at_its_own_fractions() -> None:
    series = [numbered(100, "dated", daily_dates("2001-01-01", 100)), numbered(300, "undated")]
    blocks = split_in_time(series, Split(test=0.5), 5, 1)
    assert [min(forecast_rows(samples)) for samples in blocks.test] == [50, 150]


# A test file of its own


@PATIENT
@given(
    rows=st.integers(30, 400),
    test_rows=st.integers(1, 60),
    split=splits(least_test=0),
    window=windows,
    horizon=horizons,
    dated=st.booleans(),
)
def test_the_last_rows_are_the_test_block_each_of_them_forecast(
    rows: int, test_rows: int, split: Split, window: int, horizon: int, dated: bool
) -> None:
    assume(test_rows >= horizon)
    total = rows + test_rows
    series = numbered(total, dates=daily_dates("2001-01-01", total) if dated else None)
    blocks = cut([series], split, window, horizon, test_rows)
    assume(blocks is not None)
    assert blocks is not None
    (test,) = blocks.test
    check_contents(test)
    assert forecast_rows(test) == set(range(rows, total))
    assert len(test) == test_rows - horizon + 1
    assert min(rows_of(test)) == rows - window  # the first window ends right before the first test row
    others = [samples for block in blocks[:3] for samples in block]
    for samples in others:
        check_contents(samples)
        assert max(rows_of(samples)) < rows
    for one, other in combinations(others, 2):
        assert not rows_of(one) & rows_of(other)


def test_without_other_blocks_everything_before_the_test_rows_is_trained_on() -> None:
    """The tutorial's own numbers: 1258 days to learn from, 20 to predict."""
    blocks = split_in_time([numbered(1258 + 20)], Split(test=0.2), window=60, horizon=1, test_rows=20)
    assert len(blocks.train[0]) == 1198
    assert rows_of(blocks.train[0]) == set(range(1258))
    assert len(blocks.test[0]) == 20


def test_the_other_shares_divide_what_is_before_the_test_rows() -> None:
    split = Split(validation=0.2, calibration=0.1, test=0.2)
    blocks = split_in_time([numbered(800 + 50)], split, window=10, horizon=2, test_rows=50)
    assert min(forecast_rows(blocks.validation[0])) == 500  # 5/8 of 800
    assert min(forecast_rows(blocks.calibration[0])) == 700
    assert max(forecast_rows(blocks.calibration[0])) == 799


def test_fewer_test_rows_than_steps_ahead_are_refused() -> None:
    with pytest.raises(DataError, match="too few"):
        split_in_time([numbered(300)], Split(test=0.2), window=10, horizon=5, test_rows=4)


# Independent paths


@PATIENT
@given(paths=st.integers(1, 60), split=splits(least_test=0), window=windows, horizon=horizons)
def test_each_path_is_in_one_block_whole(paths: int, split: Split, window: int, horizon: int) -> None:
    series = [a_path(50, i) for i in range(paths)]
    blocks = split_by_path(series, split, window, horizon)
    assert all(len(block) <= 1 for block in blocks)  # the paths of a block are one series
    per_path = 50 - window - horizon + 1
    found = [path for block in blocks for samples in block for path in paths_of(samples)]
    assert found == [i for i in range(paths) for _ in range(per_path)]
    shares = (split.train, split.validation, split.calibration, split.test)
    for block, share in zip(blocks, shares, strict=True):
        assert abs(sum(map(len, block)) / per_path - share * paths) <= 1


@PATIENT
@given(rows=st.integers(32, 120), window=windows, horizon=horizons, stride=st.integers(1, 40), paths=st.integers(1, 4))
def test_the_stride_is_the_steps_between_the_windows_of_a_path(
    rows: int, window: int, horizon: int, stride: int, paths: int
) -> None:
    assume(rows >= window + horizon)
    series = [a_path(rows, i) for i in range(paths)]
    ((every,), *_) = split_by_path(series, Split(test=0), window, horizon)
    ((some,), *_) = split_by_path(series, Split(test=0), window, horizon, stride)
    of_one = len(every) // paths
    chosen = [path * of_one + i for path in range(paths) for i in range(0, of_one, stride)]
    assert some.windows.tolist() == every.windows[chosen].tolist()
    assert some.futures.tolist() == every.futures[chosen].tolist()
    assert len(some) == len(some.origins)


def test_a_single_path_stays_the_series_that_it_is() -> None:
    series = numbered(50)
    blocks = split_by_path([series], Split(test=0), window=8, horizon=3, stride=7)
    assert blocks.train[0].series is series
    check_contents(blocks.train[0])
    assert np.diff(blocks.train[0].origins).tolist() == [7] * 5


def test_a_path_too_short_for_a_sample_is_left_out() -> None:
    series = [numbered(10), numbered(11), numbered(9)]
    blocks = split_by_path(series, Split(test=0), window=8, horizon=3)
    assert [len(samples) for samples in blocks.train] == [1]
    assert blocks.train[0].series is series[1]


def test_pooled_paths_are_a_series_without_a_name_of_their_own() -> None:
    blocks = split_by_path([numbered(12, "one"), numbered(13, "other")], Split(test=0), window=8, horizon=3)
    (pooled,) = blocks.train
    assert (pooled.series.name, pooled.series.dates) == ("synthetic", None)
    assert pooled.origins.tolist() == list(range(2 + 3))


def test_no_paths_are_four_empty_blocks() -> None:
    assert split_by_path([], Split(), 10, 1) == ([], [], [], [])


# Markets and simulated paths together


def test_markets_judge_and_simulated_paths_only_teach_and_calibrate() -> None:
    split = Split(validation=0.1, calibration=0.1, test=0.2)
    market = numbered(1000, "market", daily_dates("2001-01-01", 1000))
    simulated = [a_path(120, i) for i in range(20)]
    found, judged = split_blocks([market], simulated, split, window=20, horizon=2, stride=5)
    for block in judged:
        assert [samples.series for samples in block] == [market]
    assert [samples.series for samples in found.test] == [market]
    assert [len(block) for block in found] == [1 + 1, 1 + 1, 1 + 1, 1]
    per_path = len(range(0, 120 - 20 - 2 + 1, 5))
    assert [len(block[1]) for block in found[:3]] == [9 * per_path, 2 * per_path, 9 * per_path]
    taught = [path for block in found[:3] for path in paths_of(block[1])]
    assert taught == [i for i in range(20) for _ in range(per_path)]


def test_where_nothing_is_calibrated_no_paths_are_spared_for_it() -> None:
    market = numbered(1000, "market", daily_dates("2001-01-01", 1000))
    found, _ = split_blocks([market], [a_path(120, i) for i in range(10)], Split(validation=0.5), window=20, horizon=2)
    assert [len(block) for block in found] == [1 + 1, 1 + 1, 0, 1]
    assert len(found.train[1]) == len(found.validation[1])


@pytest.mark.parametrize("stride", [1, 4])
def test_without_a_market_simulated_paths_judge_as_one(stride: int) -> None:
    split = Split(calibration=0.2, test=0.2)
    found, judged = split_blocks([], [a_path(100, i) for i in range(20)], split, window=20, horizon=2, stride=stride)
    per_path = len(range(0, 79, stride))
    for block, paths in zip(found, ([*range(12)], [], [*range(12, 16)], [*range(16, 20)]), strict=True):
        assert [path for samples in block for path in paths_of(samples)] == [i for i in paths for _ in range(per_path)]
    assert judged == found


@pytest.mark.parametrize(("paths", "length"), [(1, 100), (2, 100), (20, 21), (0, 0)])
def test_too_few_or_too_short_paths_to_judge_are_refused(paths: int, length: int) -> None:
    with pytest.raises(DataError, match="paths are too few, or too short"):
        split_blocks([], [numbered(length) for _ in range(paths)], Split(test=0.2), window=20, horizon=2)


@pytest.mark.parametrize("name", recipe.names())
def test_the_blocks_of_a_shipped_recipe_are_all_filled(name: str) -> None:
    """On the sample_stocks that it names; without the simulated paths, which take seconds."""
    wanted = recipe.load(name)
    market = sample_stocks(wanted.data.stocks, wanted.data.column)
    _, judged = split_blocks(market, [], wanted.split, wanted.window, wanted.horizon)
    shares = (wanted.split.train, wanted.split.validation, wanted.split.calibration, wanted.split.test)
    for block, share in zip(judged, shares, strict=True):
        assert len(block) == (len(market) if share else 0)
