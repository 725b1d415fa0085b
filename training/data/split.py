"""Splits series into training, validation, calibration and test blocks, and cuts windows from each block."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from app.artifact.arrays import F32, F64
from training.data.series import DataError, Series
from training.recipe import SplitConfig

# If there are real series, this fraction of the simulated paths outside the validation block is used for calibration.
# Training uses new paths for every epoch, so it does not need all of the initial ones. Calibrating quantiles twenty
# steps ahead requires many paths, because each path has few independent outcomes.
SIMULATED_CALIBRATION_FRACTION = 0.5

EncodedSamples = tuple[F32, F64]  # inputs (N, T, F) and targets (N, H), or (N, T·H) with outputs at every step


@dataclass(frozen=True, eq=False)
class Samples:
    """N windows of one series and the prices that follow each window.

    Attributes:
        series: The series that the windows are cut from.
        origins: The row of the last price of each window in the series.
        windows: The W prices of each window, oldest first.
        futures: The H prices after each window.
    """

    series: Series
    origins: np.ndarray[tuple[int], np.dtype[np.int64]]  # (N,)
    windows: F64  # (N, W)
    futures: F64  # (N, H)

    def __len__(self) -> int:
        return len(self.origins)


class Blocks(NamedTuple):
    """The samples in each of the four blocks, one element for each series that has samples in the block."""

    train: list[Samples]
    validation: list[Samples]
    calibration: list[Samples]
    test: list[Samples]


def split_blocks(
    real: Sequence[Series],
    simulated: Sequence[Series],
    split: SplitConfig,
    window: int,
    horizon: int,
    test_rows: int | None = None,
    stride: int = 1,
) -> tuple[Blocks, Blocks]:
    """Split all series into the blocks used for training and the blocks used for evaluation.

    If there are real series, only they are used for evaluation, and the simulated paths are added to the training,
    validation and calibration blocks used for training. Without real series, both results are the blocks of the
    simulated paths.

    Args:
        real: Series of real prices.
        simulated: Independent simulated paths.
        split: Fractions of the blocks.
        window: Prices per window.
        horizon: Steps ahead.
        test_rows: Number of rows at the end of each real series that form the test block; see `split_by_time`.
        stride: Steps between the origins of consecutive windows of a simulated path.

    Returns:
        The blocks used for training, and the blocks used for evaluation.

    Raises:
        DataError: There are too few prices for the training block or the test block.
    """
    if real:
        evaluation = split_by_time(real, split, window, horizon, test_rows)
        calibration = SIMULATED_CALIBRATION_FRACTION * (1 - split.validation) if split.calibration else 0.0
        fractions = {"test": 0.0, "calibration": calibration}
        extra = split_by_path(simulated, split.model_copy(update=fractions), window, horizon, stride)
        training = Blocks(*(real_block + path_block for real_block, path_block in zip(evaluation, extra, strict=True)))
        return training, evaluation
    blocks = split_by_path(simulated, split, window, horizon, stride)
    if not blocks.train or not blocks.test:
        raise DataError("synthetic", f"{len(simulated)} paths are too few or too short to train and test")
    return blocks, blocks


def split_by_time(
    series: Sequence[Series], split: SplitConfig, window: int, horizon: int, test_rows: int | None = None
) -> Blocks:
    """Cut all series at the same points in time, with a gap of `window + horizon` rows between blocks.

    Series with dates are cut at shared dates, so that no training block overlaps in time with the test block of another
    series. Series without dates are cut at fractions of their own length. The future of a sample is inside its block.
    Its window may extend back into the gap before the block. No two blocks have samples that share a row.

    Args:
        series: Series to split.
        split: Fractions of the blocks.
        window: Prices per window.
        horizon: Steps ahead.
        test_rows: Number of rows at the end of each series that form the test block, instead of `split.test`. They come
            from a separate test file and follow the other blocks without a gap.

    Raises:
        DataError: The series are too short for a single sample in the training block or the test block.
    """
    shares = [split.train, split.validation, split.calibration, split.test]
    if test_rows is not None:
        shares = [share / sum(shares[:3]) for share in shares[:3]]
    fractions = np.cumsum([0.0, *shares])[:-1]
    dated = [each.dates for each in series if each.dates is not None]
    calendar = np.unique(np.concatenate(dated)) if dated else None
    blocks = Blocks([], [], [], [])
    for each in series:
        rows = len(each.prices) - (test_rows or 0)
        if each.dates is None or calendar is None or test_rows is not None:
            starts = [round(fraction * rows) for fraction in fractions]
        else:
            positions = [round(fraction * len(calendar)) for fraction in fractions]
            first_dates = [calendar[at] if at < len(calendar) else calendar[-1] + 1 for at in positions]
            starts = [int(start) for start in np.searchsorted(each.dates, first_dates)]
        ends_before_gap = [start - (window + horizon) for start in starts[1:]] + [rows]
        for i, share in enumerate(shares):
            end = ends_before_gap[i] if any(shares[i + 1 :]) else rows  # no gap if only empty blocks follow
            if share and (samples := cut_samples(each, starts[i], end, window, horizon)):
                blocks[i].append(samples)
        if test_rows is not None and (samples := cut_samples(each, rows, len(each.prices), window, horizon)):
            blocks.test.append(samples)
    if not blocks.train or not blocks.test:
        longest = max(len(each.prices) for each in series)
        raise DataError(
            ", ".join(each.name for each in series),
            f"{longest} prices are too few to train and test with a window of {window} and a horizon of {horizon}",
        )
    return blocks


def split_by_path(paths: Sequence[Series], split: SplitConfig, window: int, horizon: int, stride: int = 1) -> Blocks:
    """Assign each independent path to one block. No gaps are needed, because the paths share no prices.

    The samples of all paths in a block are pooled into one `Samples`.
    """
    shares = [split.train, split.validation, split.calibration, split.test]
    cuts = [round(fraction * len(paths)) for fraction in np.cumsum([0.0, *shares])]
    blocks = Blocks([], [], [], [])
    for block, start, stop in zip(blocks, cuts, cuts[1:], strict=False):
        by_path = (cut_samples(path, 0, len(path.prices), window, horizon, stride) for path in paths[start:stop])
        if found := [samples for samples in by_path if samples]:
            block.append(_pool(found))
    return blocks


def cut_samples(series: Series, start: int, end: int, window: int, horizon: int, stride: int = 1) -> Samples | None:
    """Cut the samples whose futures are inside the rows from `start` (inclusive) to `end` (exclusive).

    Args:
        series: Series to cut.
        start: First row that a future may contain.
        end: Row after the last one that a future may contain.
        window: Prices per window.
        horizon: Steps ahead.
        stride: Steps between the origins of consecutive windows.

    Returns:
        The samples, or None if there are too few rows for one sample.
    """
    first = max(start - 1, window - 1)
    origins = np.arange(first, end - horizon, stride)
    if not len(origins):
        return None
    rows = np.lib.stride_tricks.sliding_window_view(series.prices, window + horizon)  # (M, W+H)
    chosen = rows[origins - (window - 1)]
    return Samples(series, origins, chosen[:, :window], chosen[:, window:])


def _pool(block: Sequence[Samples]) -> Samples:
    """Join the samples of several paths. The origins of pooled samples only number them."""
    first = block[0]
    if len(block) == 1:
        return first
    return Samples(
        replace(first.series, name="synthetic"),
        np.arange(sum(map(len, block))),
        np.concatenate([samples.windows for samples in block]),
        np.concatenate([samples.futures for samples in block]),
    )
