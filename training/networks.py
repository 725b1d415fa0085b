"""Networks: what a recipe describes, in Keras 3. Pure Keras, so that every backend can train and serve them."""

from collections.abc import Sequence

import keras
import numpy as np
from keras import layers

from app.artifact.transform import F64
from training.recipe import Network


def build(recipe: Network, shape: tuple[int, int], outputs: int, start_at: F64 | None = None) -> keras.Model:
    """A network from (B, T, F) to (B, outputs).

    Args:
        shape: (T, F), steps and features.
        start_at: (outputs,) what the untrained network answers to everything; drawn at random unless given.
    """
    network = keras.Sequential([keras.Input(shape, name="window")], name="network")
    for i, units in enumerate(recipe.units):
        last = i == len(recipe.units) - 1
        network.add(layers.LSTM(units, return_sequences=not last))
        if recipe.dropout:
            network.add(layers.Dropout(recipe.dropout))
    if recipe.head:
        network.add(layers.Dense(recipe.head, activation="relu"))
    network.add(layers.Dense(outputs, kernel_initializer="glorot_uniform" if start_at is None else "zeros"))
    if start_at is not None:
        network.layers[-1].bias.assign(start_at)
    return network


def bare(network: keras.Model) -> keras.Model:
    """The network without its loss and the optimizer's state: what serving needs, and what any Keras can load."""
    copy = type(network).from_config(network.get_config())
    copy.set_weights(network.get_weights())
    return copy


class Pinball(keras.losses.Loss):  # type: ignore[misc]  # Keras has no type hints
    """Mean pinball loss (Koenker & Bassett, 1978) of (B, H·Q) quantiles against (B, H) outcomes."""

    def __init__(self, quantiles: Sequence[float]) -> None:
        super().__init__(name="pinball")
        self._quantiles = np.asarray(quantiles, dtype=np.float32)  # (Q,)

    def call(self, y_true: object, y_pred: object) -> object:
        outcomes = keras.ops.expand_dims(y_true, -1)  # (B, H, 1)
        quantiles = keras.ops.reshape(y_pred, (-1, keras.ops.shape(y_true)[1], len(self._quantiles)))  # (B, H, Q)
        error = outcomes - quantiles
        return keras.ops.mean(keras.ops.maximum(self._quantiles * error, (self._quantiles - 1) * error), axis=(1, 2))
