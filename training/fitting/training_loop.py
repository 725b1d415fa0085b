"""Fitting a network, and showing how it goes."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from app.artifact.evidence import Curve
from app.artifact.transform import F32, F64
from training.data.blocks import EncodedSamples
from training.fitting.losses import loss_of
from training.fitting.progress import ProgressDisplay
from training.fitting.resampled_dataset import ResampledDataset
from training.networks import reservoir
from training.recipe import Recipe, Training
from training.signals import defer_signals


def fit_network(
    network: keras.Model,
    recipe: Training,
    quantiles: Sequence[float],
    train: EncodedSamples | ResampledDataset,
    validation: EncodedSamples | None,
    show: ProgressDisplay,
) -> Curve:
    """Trains `network` in place; with `patience`, keeps the weights of the epoch with the best validation loss."""
    redrawn = isinstance(train, ResampledDataset)
    batches = len(train) if redrawn else math.ceil(len(train[0]) / recipe.batch)
    network.compile(
        optimizer=keras.optimizers.Adam(_rate(recipe, recipe.epochs * batches), **clipping(recipe)),
        loss=loss_of(recipe, quantiles),
    )
    callbacks: list[keras.callbacks.Callback] = []
    if recipe.patience is not None:
        callbacks.append(keras.callbacks.EarlyStopping(patience=recipe.patience, restore_best_weights=True))
    with show, defer_signals() as let_through:
        history = network.fit(
            *([train] if redrawn else train),
            validation_data=validation,
            epochs=recipe.epochs,
            batch_size=None if redrawn else recipe.batch,
            shuffle=not redrawn,  # it shuffles itself
            callbacks=[ProgressCallback(show, recipe.epochs, batches, let_through), *callbacks],
            verbose=0,
        ).history
    curve = [float(loss) for loss in history["loss"]]
    checked = [float(loss) for loss in history.get("val_loss", [])]
    best = checked.index(min(checked)) if recipe.patience is not None else len(curve) - 1
    return Curve(loss=curve, validation=checked, best=best)


def solve_echo_state(
    network: keras.Model,
    recipe: Recipe,
    train: EncodedSamples,
    validation: EncodedSamples | None,
    show: ProgressDisplay,
) -> Curve:
    """Solves the readout of an echo state network in place: one epoch, for those who are told of it."""
    measure = loss_of(recipe.training, recipe.quantiles)

    def loss(targets: F64, said: F32 | F64) -> float:
        came = targets[:, -recipe.horizon :].astype(np.float32)
        return float(keras.ops.convert_to_numpy(measure(came, said.astype(np.float32))))

    with show, defer_signals():
        found, checked = loss(train[1], reservoir.solve_readout(network, recipe, train)), None
        if validation is not None:
            checked = loss(validation[1], network.predict(validation[0], verbose=0))
        show.epoch(0, 1, found, checked)
    return Curve(loss=[found], validation=[] if checked is None else [checked], best=0)


def clipping(recipe: Training) -> dict[str, float | None]:
    """What an optimizer is told of it."""
    return {
        "global_clipnorm": recipe.clip_norm,
        "clipnorm": recipe.clip_weight_norm,
        "clipvalue": recipe.clip_value,
    }


def _rate(recipe: Training, steps: int) -> float | keras.optimizers.schedules.LearningRateSchedule:
    if recipe.schedule == "constant":
        return recipe.learning_rate
    warmup = max(1, steps // 50)
    return keras.optimizers.schedules.CosineDecay(
        0.0,
        max(1, steps - warmup),
        alpha=0.01,
        warmup_target=recipe.learning_rate,
        warmup_steps=warmup,
    )


class ProgressCallback(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no type hints
    """Passes on what Keras tells, and between two batches what was defer_signals back."""

    def __init__(self, show: ProgressDisplay, epochs: int, batches: int, let_through: Callable[[], None]) -> None:
        super().__init__()
        self._show = show
        self._epochs = epochs
        self._batches = batches
        self._let_through = let_through
        self._epoch = 0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self._let_through()
        self._show.batch(self._epoch, batch + 1, self._batches)

    def on_test_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self._let_through()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        told = logs or {}
        self._show.epoch(epoch, self._epochs, float(told["loss"]), told.get("val_loss"))
