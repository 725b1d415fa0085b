"""Batches to train on: windows that stay, and windows that are drawn anew for every epoch."""

from collections.abc import Callable

import keras
import numpy as np

from training.data.blocks import EncodedSamples


class ResampledDataset(keras.utils.PyDataset):  # type: ignore[misc]  # Keras has no type hints
    """Shuffled batches of kept and of drawn samples. No drawn sample is seen twice, so none is learnt by heart."""

    def __init__(
        self, kept: list[EncodedSamples], draw: Callable[[int], list[EncodedSamples]], size: int, epochs: int, seed: int
    ):
        """
        Args:
            draw: the samples of epoch 0, 1, …; as many for each.
            size: samples in a batch; what is left over of an epoch is left out.
        """
        super().__init__()
        self._kept = kept
        self._draw = draw
        self._size = size
        self._epochs = epochs
        self._shuffle = np.random.default_rng(seed)
        self._epoch = 0
        self._has_begun = False
        self._fill()

    @property
    def samples(self) -> int:
        """Of one epoch."""
        return len(self._order)

    def __len__(self) -> int:
        return max(1, len(self._order) // self._size)

    def __getitem__(self, index: int) -> EncodedSamples:
        chosen = self._order[index * self._size : (index + 1) * self._size]
        return self._inputs[chosen], self._targets[chosen]

    def on_epoch_begin(self) -> None:
        self._has_begun = True

    def on_epoch_end(self) -> None:
        if self._has_begun:  # Keras says so once before the first epoch too
            self._has_begun = False
            self._epoch += 1
            if self._epoch < self._epochs:
                self._fill()

    def _fill(self) -> None:
        inputs, targets = zip(*self._kept, *self._draw(self._epoch), strict=True)
        self._inputs, self._targets = np.concatenate(inputs), np.concatenate(targets)
        self._order = self._shuffle.permutation(len(self._inputs))
