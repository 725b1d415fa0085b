"""Blocks of time: train, validation, calibration, test, and the samples that lie in each."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from app.artifact.transform import F32, F64
from training.data.series import DataError, Series
from training.recipe import Split

# Of the simulated paths that do not validate, where markets judge. Those to train on are drawn anew for every epoch, so
# half of the first draw can be spared; and quantiles twenty steps ahead, of which a path has few, need many paths.
CALIBRATING_PATHS = 0.5

EncodedSamples = tuple[F32, F64]  # inputs (N, T, F) and targets (N, H)


@dataclass(frozen=True, eq=False)
class Samples:
    """N windows of one series and what came after each."""

    series: Series
    origins: np.ndarray[tuple[int], np.dtype[np.int64]]  # (N,) index of the last price of each window
    windows: F64  # (N, W)
    futures: F64  # (N, H)

    def __len__(self) -> int:
        return len(self.origins)


class Blocks(NamedTuple):
    """For each block, the samples of each series that has any in it."""

    train: list[Samples]
    validation: list[Samples]
    calibration: list[Samples]
    test: list[Samples]


def split_blocks(
    market: Sequence[Series],
    simulated: Sequence[Series],
    split: Split,
    window: int,
    horizon: int,
    test_rows: int | None = None,
    stride: int = 1,
) -> tuple[Blocks, Blocks]:
    """The blocks to train on, and those by which the model is judged.

    Markets judge a model where there are any, and simulated paths then only teach and calibrate; otherwise these judge.

    Args:
        stride: steps between the windows of a simulated path.

    Raises:
        DataError: there are too few prices for a block that is needed.
    """
    if market:
        judged = split_in_time(market, split, window, horizon, test_rows)
        calibrating = CALIBRATING_PATHS * (1 - split.validation) if split.calibration else 0.0
        shares = {"test": 0.0, "calibration": calibrating}
        taught = split_by_path(simulated, split.model_copy(update=shares), window, horizon, stride)
        return Blocks(*(ours + theirs for ours, theirs in zip(judged, taught, strict=True))), judged
    taught = split_by_path(simulated, split, window, horizon, stride)
    if not taught.train or not taught.test:
        raise DataError("synthetic", f"{len(simulated)} paths are too few, or too short, to train and to test on")
    return taught, taught


def split_in_time(
    series: Sequence[Series], split: Split, window: int, horizon: int, test_rows: int | None = None
) -> Blocks:
    """Cuts every series at the same moments, and keeps a gap of `window + horizon` rows between blocks.

    Series with dates are cut at dates they share, so that no series' training block reaches into the time of another's
    test block; series without are cut at fractions of their own length. What a sample predicts lies inside its block;
    its window may reach back into the gap before, which belongs to no block: no row is in samples of two blocks.

    Args:
        test_rows: makes the last rows of each series the test block, right after the others and without a gap, whatever
            `split.test` says: for a test file of its own.

    Raises:
        DataError: the series are too short to leave the training block, or the test block, a single sample.
    """
    shares = [split.train, split.validation, split.calibration, split.test]
    if test_rows is not None:
        shares = [share / sum(shares[:3]) for share in shares[:3]]
    fractions = np.cumsum([0.0, *shares])[:-1]
    dated = [each.dates for each in series if each.dates is not None]
    calendar = np.unique(np.concatenate(dated)) if dated else None
    found = Blocks([], [], [], [])
    for each in series:
        rows = len(each.prices) - (test_rows or 0)
        if each.dates is None or calendar is None or test_rows is not None:
            cuts = [round(fraction * rows) for fraction in fractions]
        else:
            places = [round(fraction * len(calendar)) for fraction in fractions]
            before = [calendar[place] if place < len(calendar) else calendar[-1] + 1 for place in places]
            cuts = [int(cut) for cut in np.searchsorted(each.dates, before)]
        ends = [cut - (window + horizon) for cut in cuts[1:]] + [rows]
        for i, share in enumerate(shares):
            if share and (samples := cut_samples(each, cuts[i], _end(i, shares, ends), window, horizon)):
                found[i].append(samples)
        if test_rows is not None and (samples := cut_samples(each, rows, len(each.prices), window, horizon)):
            found.test.append(samples)
    if not found.train or not found.test:
        longest = max(len(each.prices) for each in series)
        raise DataError(
            ", ".join(each.name for each in series),
            f"{longest} prices are too few to train and to test on windows of {window} and {horizon} steps ahead",
        )
    return found


def split_by_path(paths: Sequence[Series], split: Split, window: int, horizon: int, stride: int = 1) -> Blocks:
    """Puts each of many independent paths into one block, whole: between them there is nothing to leak.

    The paths of a block are pooled: as samples they are one series.
    """
    shares = [split.train, split.validation, split.calibration, split.test]
    cuts = [round(fraction * len(paths)) for fraction in np.cumsum([0.0, *shares])]
    found = Blocks([], [], [], [])
    for block, start, stop in zip(found, cuts, cuts[1:], strict=False):
        each = (cut_samples(path, 0, len(path.prices), window, horizon, stride) for path in paths[start:stop])
        if some := [samples for samples in each if samples]:
            block.append(_pool(some))
    return found


def _end(i: int, shares: Sequence[float], ends: Sequence[int]) -> int:
    """One past the last row of block i: a gap before the next block that is not empty, none after the last."""
    return ends[i] if any(shares[i + 1 :]) else ends[-1]


def cut_samples(series: Series, start: int, end: int, window: int, horizon: int, stride: int = 1) -> Samples | None:
    """Every sample, or one every `stride` rows, whose future lies in rows start ≤ row < end."""
    first = max(start - 1, window - 1)
    origins = np.arange(first, end - horizon, stride)
    if not len(origins):
        return None
    rows = np.lib.stride_tricks.sliding_window_view(series.prices, window + horizon)  # (M, W+H)
    chosen = rows[origins - (window - 1)]
    return Samples(series, origins, chosen[:, :window], chosen[:, window:])


def _pool(block: Sequence[Samples]) -> Samples:
    first = block[0]
    if len(block) == 1:
        return first
    return Samples(
        replace(first.series, name="synthetic"),
        np.arange(sum(map(len, block))),
        np.concatenate([samples.windows for samples in block]),
        np.concatenate([samples.futures for samples in block]),
    )
