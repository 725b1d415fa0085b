"""Batches: kept samples in every epoch, drawn ones in one only, each with its own target, in an order of its own."""

from collections.abc import Callable

import numpy as np
import pytest

from training.data.blocks import EncodedSamples
from training.fitting.resampled_dataset import ResampledDataset

KEPT, DRAWN = 6, 10  # samples


def encoded(first: int, count: int) -> EncodedSamples:
    """Samples that are numbers from `first` on: in all of the input, and 10 times as much in the target."""
    numbers = np.arange(first, first + count)
    inputs = np.tile(numbers[:, None, None], (1, 3, 2)).astype(np.float32)  # (N, 3, 2)
    targets = np.stack([numbers, numbers], axis=1).astype(np.float64)  # (N, 2)
    return inputs, 10 * targets


def draw(epoch: int) -> list[EncodedSamples]:
    """Other numbers in each epoch, in two pieces."""
    first = 100 * (epoch + 1)
    return [encoded(first, 4), encoded(first + 4, DRAWN - 4)]


def made(
    size: int = 4, epochs: int = 3, seed: int = 1, kept: int = KEPT, by: Callable[[int], list[EncodedSamples]] = draw
) -> ResampledDataset:
    return ResampledDataset([encoded(0, kept)] if kept else [], by, size, epochs, seed)


def seen(batches: ResampledDataset) -> list[list[int]]:
    """The numbers of one epoch, batch by batch; every sample is whole and has its own target."""
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
        found.append(seen(batches))
        batches.on_epoch_end()
    return found


def test_an_epoch_has_what_is_kept_and_what_was_drawn_for_it() -> None:
    for epoch, batches in enumerate(epochs_of(made(size=2), 3)):
        numbers = sorted(number for batch in batches for number in batch)
        assert numbers == [*range(KEPT), *range(100 * (epoch + 1), 100 * (epoch + 1) + DRAWN)]


def test_no_drawn_sample_is_seen_in_two_epochs() -> None:
    epochs = epochs_of(made(size=4), 3)
    drawn = [{number for batch in batches for number in batch if number >= 100} for batches in epochs]
    assert all(drawn)
    assert not drawn[0] & drawn[1]
    assert not drawn[1] & drawn[2]


def test_every_epoch_is_in_an_order_of_its_own() -> None:
    batches = ResampledDataset([encoded(0, 50)], lambda _: [encoded(50, 50)], 100, 3, seed=1)
    (first,), (second,), (third,) = epochs_of(batches, 3)
    assert sorted(first) == sorted(second) == sorted(third)
    assert first != sorted(first)
    assert len({tuple(first), tuple(second), tuple(third)}) == 3
    assert min(np.flatnonzero(np.array(first) >= 50)) < 25  # what is kept and what is drawn are mixed


def test_the_seed_decides_the_order() -> None:
    one, again, other = (epochs_of(made(seed=seed), 2) for seed in (1, 1, 2))
    assert one == again != other


@pytest.mark.parametrize(("size", "batches"), [(1, 16), (5, 3), (8, 2), (9, 1), (16, 1), (500, 1)])
def test_only_whole_batches_are_seen_unless_all_together_are_less_than_one(size: int, batches: int) -> None:
    found = seen(made(size=size))
    assert [len(batch) for batch in found] == [min(size, KEPT + DRAWN)] * batches
    assert len({number for batch in found for number in batch}) == batches * min(size, KEPT + DRAWN)


def test_there_may_be_nothing_to_keep() -> None:
    assert sorted(number for batch in seen(made(size=2, kept=0)) for number in batch) == [*range(100, 100 + DRAWN)]


def test_an_end_without_a_beginning_draws_nothing() -> None:
    """Keras tells of one before the first epoch."""
    batches = made()
    batches.on_epoch_end()
    assert epochs_of(batches, 3) == epochs_of(made(), 3)


def test_after_the_last_epoch_nothing_more_is_drawn() -> None:
    drawn: list[int] = []

    def remembered(epoch: int) -> list[EncodedSamples]:
        drawn.append(epoch)
        return draw(epoch)

    epochs_of(made(epochs=3, by=remembered), 3)
    assert drawn == [0, 1, 2]
