"""Fits networks: by gradient descent, or in closed form for echo state networks."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from app.artifact.arrays import F32, F64
from app.artifact.evidence import Curve
from training.data.split import EncodedSamples
from training.fitting.losses import build_loss
from training.fitting.progress import ProgressDisplay
from training.fitting.resampled_dataset import ResampledDataset
from training.networks import reservoir
from training.recipe import Recipe, TrainingConfig
from training.signals import defer_signals


def fit_network(
    network: keras.Model,
    config: TrainingConfig,
    quantiles: Sequence[float],
    train: EncodedSamples | ResampledDataset,
    validation: EncodedSamples | None,
    progress: ProgressDisplay,
) -> Curve:
    """Train `network` in place. With `patience`, restore the weights of the epoch with the lowest validation loss.

    Args:
        network: Network to train.
        config: The training part of the recipe.
        quantiles: The Q probabilities of the outputs.
        train: Inputs (N, T, F) and their targets, or a dataset of them.
        validation: Inputs and targets of the validation block, or None.
        progress: Display to report batches and epochs to.

    Returns:
        The losses of all epochs, and the index of the epoch whose weights were kept.
    """
    is_resampled = isinstance(train, ResampledDataset)
    batches = len(train) if is_resampled else math.ceil(len(train[0]) / config.batch)
    network.compile(
        optimizer=keras.optimizers.Adam(_learning_rate(config, config.epochs * batches), **clipping_arguments(config)),
        loss=build_loss(config, quantiles),
    )
    callbacks: list[keras.callbacks.Callback] = []
    if config.patience is not None:
        callbacks.append(keras.callbacks.EarlyStopping(patience=config.patience, restore_best_weights=True))
    with progress, defer_signals() as deliver_pending:
        history = network.fit(
            *([train] if is_resampled else train),
            validation_data=validation,
            epochs=config.epochs,
            batch_size=None if is_resampled else config.batch,
            shuffle=not is_resampled,  # a ResampledDataset shuffles its own samples
            callbacks=[ProgressCallback(progress, config.epochs, batches, deliver_pending), *callbacks],
            verbose=0,
        ).history
    losses = [float(loss) for loss in history["loss"]]
    validation_losses = [float(loss) for loss in history.get("val_loss", [])]
    best = len(losses) - 1 if config.patience is None else validation_losses.index(min(validation_losses))
    return Curve(loss=losses, validation=validation_losses, best=best)


def solve_echo_state(
    network: keras.Model,
    recipe: Recipe,
    train: EncodedSamples,
    validation: EncodedSamples | None,
    progress: ProgressDisplay,
) -> Curve:
    """Fit the readout of an echo state network in place and in closed form, and report it as one epoch.

    Args:
        network: Network whose readout is fitted.
        recipe: Recipe of the network.
        train: Inputs (N, T, F) and their targets.
        validation: Inputs and targets of the validation block, or None.
        progress: Display to report the epoch to.

    Returns:
        The losses of the fitted network.
    """
    loss_function = build_loss(recipe.training, recipe.quantiles)

    def loss_of(targets: F64, outputs: F32 | F64) -> float:
        last_targets = targets[:, -recipe.horizon :].astype(np.float32)
        return float(keras.ops.convert_to_numpy(loss_function(last_targets, outputs.astype(np.float32))))

    with progress, defer_signals():
        loss = loss_of(train[1], reservoir.solve_readout(network, recipe, train))
        validation_loss = None
        if validation is not None:
            validation_loss = loss_of(validation[1], network.predict(validation[0], verbose=0))
        progress.on_epoch_end(0, 1, loss, validation_loss)
    return Curve(loss=[loss], validation=[] if validation_loss is None else [validation_loss], best=0)


def clipping_arguments(config: TrainingConfig) -> dict[str, float | None]:
    """Return the keyword arguments that make a Keras optimizer clip gradients as configured."""
    return {
        "global_clipnorm": config.clip_norm,
        "clipnorm": config.clip_weight_norm,
        "clipvalue": config.clip_value,
    }


def _learning_rate(config: TrainingConfig, steps: int) -> float | keras.optimizers.schedules.LearningRateSchedule:
    """Return the constant learning rate, or its schedule over all steps of the training."""
    if config.schedule == "constant":
        return config.learning_rate
    warmup = max(1, steps // 50)
    return keras.optimizers.schedules.CosineDecay(
        0.0,
        max(1, steps - warmup),
        alpha=0.01,
        warmup_target=config.learning_rate,
        warmup_steps=warmup,
    )


class ProgressCallback(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no type hints
    """Forwards Keras's events to a progress display, and delivers deferred signals between batches.

    Args:
        progress: Display to forward to.
        epochs: Number of epochs.
        batches: Number of batches per epoch.
        deliver_pending: Delivers a deferred signal; see `defer_signals`.
    """

    def __init__(
        self, progress: ProgressDisplay, epochs: int, batches: int, deliver_pending: Callable[[], None]
    ) -> None:
        super().__init__()
        self._progress = progress
        self._epochs = epochs
        self._batches = batches
        self._deliver_pending = deliver_pending
        self._epoch = 0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Remember the epoch, because Keras does not pass it to batch callbacks."""
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Deliver a pending signal, and report the batch."""
        self._deliver_pending()
        self._progress.on_batch_end(self._epoch, batch + 1, self._batches)

    def on_test_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Deliver a pending signal."""
        self._deliver_pending()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Report the losses of the epoch."""
        losses = logs or {}
        self._progress.on_epoch_end(epoch, self._epochs, float(losses["loss"]), losses.get("val_loss"))
