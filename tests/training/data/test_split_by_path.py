"""Splits of simulated paths, alone and next to real series."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.training.conftest import daily_dates
from tests.training.data.split_checks import (
    PROPERTY,
    check_contents,
    horizons,
    numbered,
    numbered_path,
    paths_of,
    splits,
    windows,
)
from training.data.sample_stocks import load_sample_stocks
from training.data.series import DataError
from training.data.split import split_blocks, split_by_path
from training.recipe import SplitConfig
from training.recipe_files import load_recipe, recipe_names

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
