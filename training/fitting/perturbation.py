"""Keras layers that add zero weights to inputs and states, to measure gradients with any backend.

Keras has no API for derivatives that all of its backends support, but all of them can take an optimizer step. After one
step of gradient descent at rate 1, a weight that started at 0 equals minus the gradient with respect to the value that
it was added to.
"""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import layers

from app.artifact.arrays import F64


class Perturbation(layers.Layer):  # type: ignore[misc]  # Keras has no type hints
    """Adds a weight, initially 0, to (N, T, F) inputs. The weight has the same shape, including the batch dimension."""

    def build(self, shape: tuple[int, ...]) -> None:
        """Create the weight."""
        self.perturbation = self.add_weight(shape=shape, initializer="zeros")

    def call(self, inputs: Any) -> Any:
        """Add the weight to the inputs."""
        return inputs + self.perturbation


class StatePerturbation(layers.Layer):  # type: ignore[misc]
    """Appends a weight, initially 0, to the features of (N, T, F) inputs. `PerturbedCell` adds it to its states.

    Args:
        size: Total size of the cell's states.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self._size = size

    def build(self, shape: tuple[int, ...]) -> None:
        """Create the (N, T, size) weight."""
        self.perturbation = self.add_weight(shape=(*shape[:2], self._size), initializer="zeros")

    def call(self, inputs: Any) -> Any:
        """Append the weight to the inputs."""
        return keras.ops.concatenate([inputs, self.perturbation], axis=2)


class PerturbedCell(layers.Layer):  # type: ignore[misc]
    """Wraps a recurrent cell, and adds the perturbations in its input to its states after each step.

    Args:
        cell: Cell to wrap. Its weights are shared.
    """

    def __init__(self, cell: layers.Layer) -> None:
        super().__init__()
        self.cell = cell
        self.state_size = cell.state_size
        self._sizes = state_sizes(cell)

    def call(self, inputs: Any, states: Sequence[Any]) -> Any:
        """Compute one step from an output of `StatePerturbation`."""
        offsets = np.cumsum(self._sizes[::-1])[::-1]  # where each perturbation starts, from the end of the features
        inputs, *perturbations = keras.ops.split(
            inputs, [int(inputs.shape[-1] - offset) for offset in offsets], axis=-1
        )
        _, states = self.cell(inputs, states, training=False)
        perturbed = [state + perturbation for state, perturbation in zip(states, perturbations, strict=True)]
        return perturbed[0], perturbed


def state_sizes(cell: layers.Layer) -> list[int]:
    """Return the sizes of a cell's states. An LSTM has two states, and the other cells have one."""
    return list(cell.state_size) if isinstance(cell.state_size, Sequence) else [cell.state_size]


def gradient_of(layer: Perturbation | StatePerturbation) -> F64:
    """Return the (N, T, ·) gradient with its sign reversed: the weight after one step of gradient descent at rate 1."""
    gradient: F64 = keras.ops.convert_to_numpy(layer.perturbation).astype(np.float64)
    return gradient
