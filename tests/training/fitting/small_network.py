"""A network, samples and a configuration that train in milliseconds."""

from typing import Any

import keras
import numpy as np
from keras import layers

from app.artifact.arrays import F32, F64
from training.recipe import TrainingConfig

ROWS, STEPS = 40, 4


def constant_samples(target: float, rows: int = ROWS) -> tuple[F32, F64]:
    """Inputs of zeros, and the same target for all of them."""
    return np.zeros((rows, STEPS, 1), dtype=np.float32), np.full((rows, 1), target)


class EagerSequential(keras.Sequential):  # type: ignore[misc]  # Keras has no type hints
    """Trains without a graph, because tracing one would take longer than the few steps of a test."""

    def compile(self, **arguments: Any) -> None:
        super().compile(run_eagerly=True, **arguments)


def small_network(outputs: int = 1, dropout: float = 0.0) -> keras.Model:
    """A network that can learn little more than its output bias, which starts at 0. A recurrent one would be slower."""
    return EagerSequential([keras.Input((STEPS, 1)), layers.Flatten(), layers.Dropout(dropout), layers.Dense(outputs)])


def training_config(**changes: Any) -> TrainingConfig:
    return TrainingConfig.model_validate({"loss": "mse", "learning_rate": 0.2, "batch": ROWS, "epochs": 10} | changes)
