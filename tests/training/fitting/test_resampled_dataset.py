"""Resampled datasets: fixed samples are in every epoch, drawn samples in one, and every epoch is shuffled."""

from collections.abc import Callable

import numpy as np
import pytest

from training.data.split import EncodedSamples
from training.fitting.resampled_dataset import ResampledDataset

FIXED, DRAWN = 6, 10  # samples


def encoded(first: int, count: int) -> EncodedSamples:
    """Samples numbered from `first`. All inputs are the number, and all targets are 10 times the number."""
    numbers = np.arange(first, first + count)
    inputs = np.tile(numbers[:, None, None], (1, 3, 2)).astype(np.float32)  # (N, 3, 2)
    targets = np.stack([numbers, numbers], axis=1).astype(np.float64)  # (N, 2)
    return inputs, 10 * targets


def draw(epoch: int) -> list[EncodedSamples]:
    """Different numbers for each epoch, in two parts."""
    first = 100 * (epoch + 1)
    return [encoded(first, 4), encoded(first + 4, DRAWN - 4)]


def dataset(
    size: int = 4, epochs: int = 3, seed: int = 1, fixed: int = FIXED, by: Callable[[int], list[EncodedSamples]] = draw
) -> ResampledDataset:
    return ResampledDataset([encoded(0, fixed)] if fixed else [], by, size, epochs, seed)


def batch_numbers(batches: ResampledDataset) -> list[list[int]]:
    """The numbers of one epoch by batch. Checks that every sample has its own target."""
    found = []
    for index in range(len(batches)):
        inputs, targets = batches[index]
        assert inputs.shape[1:] == (3, 2)
        assert inputs.dtype == np.float32
        assert (inputs == inputs[:, :1, :1]).all()
        assert (targets == 10 * inputs[:, 0]).all()
        found.append([int(number) for number in inputs[:, 0, 0]])
    return found


def epochs_of(batches: ResampledDataset, count: int) -> list[list[list[int]]]:
    found = []
    for _ in range(count):
        batches.on_epoch_begin()
        found.append(batch_numbers(batches))
        batches.on_epoch_end()
    return found


def test_resampled_dataset_epoch_has_fixed_and_drawn_samples() -> None:
    for epoch, batches in enumerate(epochs_of(dataset(size=2), 3)):
        numbers = sorted(number for batch in batches for number in batch)
        assert numbers == [*range(FIXED), *range(100 * (epoch + 1), 100 * (epoch + 1) + DRAWN)]


def test_resampled_dataset_draws_samples_for_one_epoch() -> None:
    epochs = epochs_of(dataset(size=4), 3)
    drawn = [{number for batch in batches for number in batch if number >= 100} for batches in epochs]
    assert all(drawn)
    assert not drawn[0] & drawn[1]
    assert not drawn[1] & drawn[2]


def test_resampled_dataset_shuffles_every_epoch_differently() -> None:
    batches = ResampledDataset([encoded(0, 50)], lambda _: [encoded(50, 50)], 100, 3, seed=1)
    (first,), (second,), (third,) = epochs_of(batches, 3)
    assert sorted(first) == sorted(second) == sorted(third)
    assert first != sorted(first)
    assert len({tuple(first), tuple(second), tuple(third)}) == 3
    assert min(np.flatnonzero(np.array(first) >= 50)) < 25  # fixed and drawn samples are mixed


def test_resampled_dataset_seed_determines_the_order() -> None:
    one, again, other = (epochs_of(dataset(seed=seed), 2) for seed in (1, 1, 2))
    assert one == again != other


@pytest.mark.parametrize(("size", "batches"), [(1, 16), (5, 3), (8, 2), (9, 1), (16, 1), (500, 1)])
def test_resampled_dataset_drops_an_incomplete_last_batch(size: int, batches: int) -> None:
    found = batch_numbers(dataset(size=size))
    assert [len(batch) for batch in found] == [min(size, FIXED + DRAWN)] * batches
    assert len({number for batch in found for number in batch}) == batches * min(size, FIXED + DRAWN)


def test_resampled_dataset_without_fixed_samples() -> None:
    assert sorted(number for batch in batch_numbers(dataset(size=2, fixed=0)) for number in batch) == [
        *range(100, 100 + DRAWN)
    ]


def test_resampled_dataset_end_without_begin_draws_nothing() -> None:
    """Keras calls `on_epoch_end` once before the first epoch."""
    batches = dataset()
    batches.on_epoch_end()
    assert epochs_of(batches, 3) == epochs_of(dataset(), 3)


def test_resampled_dataset_last_epoch_end_draws_nothing() -> None:
    drawn: list[int] = []

    def record_and_draw(epoch: int) -> list[EncodedSamples]:
        drawn.append(epoch)
        return draw(epoch)

    epochs_of(dataset(epochs=3, by=record_and_draw), 3)
    assert drawn == [0, 1, 2]
