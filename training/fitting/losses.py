"""Training losses."""

from collections.abc import Sequence

import keras
import numpy as np

from training.recipe import TrainingConfig


class PinballLoss(keras.losses.Loss):  # type: ignore[misc]  # Keras has no type hints
    """Mean pinball loss (Koenker & Bassett, 1978) of (B, H·Q) quantile forecasts against (B, H) outcomes."""

    def __init__(self, quantiles: Sequence[float]) -> None:
        super().__init__(name="pinball")
        self._quantiles = np.asarray(quantiles, dtype=np.float32)  # (Q,)

    def call(self, y_true: object, y_pred: object) -> object:
        """Compute the (B,) losses of the samples."""
        outcomes = keras.ops.expand_dims(y_true, -1)  # (B, H, 1)
        quantiles = keras.ops.reshape(y_pred, (-1, keras.ops.shape(y_true)[1], len(self._quantiles)))  # (B, H, Q)
        error = outcomes - quantiles
        return keras.ops.mean(keras.ops.maximum(self._quantiles * error, (self._quantiles - 1) * error), axis=(1, 2))


def build_loss(config: TrainingConfig, quantiles: Sequence[float]) -> keras.losses.Loss:
    """Create the loss that the recipe configures."""
    return PinballLoss(quantiles) if config.loss == "pinball" else keras.losses.MeanSquaredError()
