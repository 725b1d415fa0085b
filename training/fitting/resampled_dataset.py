"""A dataset whose simulated samples are replaced for every epoch."""

from collections.abc import Callable

import keras
import numpy as np

from training.data.split import EncodedSamples


class ResampledDataset(keras.utils.PyDataset):  # type: ignore[misc]  # Keras has no type hints
    """Shuffled batches of fixed samples and of samples that are drawn for each epoch.

    Each drawn sample is used in one epoch only, so that the network cannot memorize it.

    Args:
        fixed: Samples used in every epoch.
        draw: Draws the samples of an epoch, which counts from 0. Their number is the same for every epoch.
        batch_size: Samples per batch. An incomplete last batch is dropped, unless it is the only one.
        epochs: Number of epochs to draw samples for.
        seed: Seed of the shuffling.
    """

    def __init__(
        self,
        fixed: list[EncodedSamples],
        draw: Callable[[int], list[EncodedSamples]],
        batch_size: int,
        epochs: int,
        seed: int,
    ) -> None:
        super().__init__()
        self._fixed = fixed
        self._draw = draw
        self._batch_size = batch_size
        self._epochs = epochs
        self._rng = np.random.default_rng(seed)
        self._epoch = 0
        self._has_begun = False
        self._load_epoch()

    @property
    def samples_per_epoch(self) -> int:
        """The number of samples, including those of a dropped incomplete batch."""
        return len(self._order)

    def __len__(self) -> int:
        return max(1, len(self._order) // self._batch_size)

    def __getitem__(self, index: int) -> EncodedSamples:
        chosen = self._order[index * self._batch_size : (index + 1) * self._batch_size]
        return self._inputs[chosen], self._targets[chosen]

    def on_epoch_begin(self) -> None:
        """Record that Keras began an epoch."""
        self._has_begun = True

    def on_epoch_end(self) -> None:
        """Draw the samples of the next epoch."""
        if self._has_begun:  # Keras also calls this once before the first epoch
            self._has_begun = False
            self._epoch += 1
            if self._epoch < self._epochs:
                self._load_epoch()

    def _load_epoch(self) -> None:
        inputs, targets = zip(*self._fixed, *self._draw(self._epoch), strict=True)
        self._inputs, self._targets = np.concatenate(inputs), np.concatenate(targets)
        self._order = self._rng.permutation(len(self._inputs))
