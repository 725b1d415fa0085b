"""Fitting a network, and showing how it goes."""

import math
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol, Self

import keras
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from app.artifact.evidence import Curve
from app.artifact.transform import F32, F64
from training import reservoir
from training.batches import Encoded, Redrawn
from training.interrupt import held
from training.networks import Pinball
from training.recipe import Recipe, Training


class Display(Protocol):
    """Is told of every batch and epoch."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc: object) -> None: ...

    def batch(self, epoch: int, done: int, batches: int) -> None: ...

    def epoch(self, epoch: int, epochs: int, loss: float, validation: float | None) -> None: ...


class Bar:
    """A moving bar, for a terminal."""

    def __init__(self, epochs: int) -> None:
        self._progress = Progress(
            TextColumn("epoch"),
            MofNCompleteColumn(),
            BarColumn(),
            TextColumn("{task.fields[said]}"),
            TimeRemainingColumn(),
        )
        self._task = self._progress.add_task("", total=epochs, said="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._progress.stop()

    def batch(self, epoch: int, done: int, batches: int) -> None:
        self._progress.update(self._task, completed=epoch + done / batches)

    def epoch(self, epoch: int, epochs: int, loss: float, validation: float | None) -> None:
        self._progress.update(self._task, completed=epoch + 1, said=_losses(loss, validation))


class Lines:
    """A line an epoch, for a file or a log."""

    def __init__(self) -> None:
        self._started = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        pass

    def batch(self, epoch: int, done: int, batches: int) -> None:
        pass

    def epoch(self, epoch: int, epochs: int, loss: float, validation: float | None) -> None:
        left_s = (time.monotonic() - self._started) / (epoch + 1) * (epochs - epoch - 1)
        print(f"epoch {epoch + 1}/{epochs}  {_losses(loss, validation)}  {left_s:.0f} s left", flush=True)


def display(epochs: int) -> Display:
    """The display that fits where standard output goes."""
    return Bar(epochs) if Console(file=sys.stdout).is_terminal else Lines()


def fit(
    network: keras.Model,
    recipe: Training,
    quantiles: Sequence[float],
    train: Encoded | Redrawn,
    validation: Encoded | None,
    show: Display,
) -> Curve:
    """Trains `network` in place; with `patience`, keeps the weights of the epoch with the best validation loss."""
    redrawn = isinstance(train, Redrawn)
    batches = len(train) if redrawn else math.ceil(len(train[0]) / recipe.batch)
    network.compile(
        optimizer=keras.optimizers.Adam(_rate(recipe, recipe.epochs * batches), **clipping(recipe)),
        loss=loss_of(recipe, quantiles),
    )
    callbacks: list[keras.callbacks.Callback] = []
    if recipe.patience is not None:
        callbacks.append(keras.callbacks.EarlyStopping(patience=recipe.patience, restore_best_weights=True))
    with show, held() as let_through:
        history = network.fit(
            *([train] if redrawn else train),
            validation_data=validation,
            epochs=recipe.epochs,
            batch_size=None if redrawn else recipe.batch,
            shuffle=not redrawn,  # it shuffles itself
            callbacks=[_Teller(show, recipe.epochs, batches, let_through), *callbacks],
            verbose=0,
        ).history
    curve = [float(loss) for loss in history["loss"]]
    checked = [float(loss) for loss in history.get("val_loss", [])]
    best = checked.index(min(checked)) if recipe.patience is not None else len(curve) - 1
    return Curve(loss=curve, validation=checked, best=best)


def solve(network: keras.Model, recipe: Recipe, train: Encoded, validation: Encoded | None, show: Display) -> Curve:
    """Solves the readout of an echo state network in place: one epoch, for those who are told of it."""
    measure = loss_of(recipe.training, recipe.quantiles)

    def loss(targets: F64, said: F32 | F64) -> float:
        came = targets[:, -recipe.horizon :].astype(np.float32)
        return float(keras.ops.convert_to_numpy(measure(came, said.astype(np.float32))))

    with show, held():
        found, checked = loss(train[1], reservoir.solve(network, recipe, train)), None
        if validation is not None:
            checked = loss(validation[1], network.predict(validation[0], verbose=0))
        show.epoch(0, 1, found, checked)
    return Curve(loss=[found], validation=[] if checked is None else [checked], best=0)


def loss_of(recipe: Training, quantiles: Sequence[float]) -> keras.losses.Loss:
    return Pinball(quantiles) if recipe.loss == "pinball" else keras.losses.MeanSquaredError()


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


class _Teller(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no type hints
    """Passes on what Keras tells, and between two batches what was held back."""

    def __init__(self, show: Display, epochs: int, batches: int, let_through: Callable[[], None]) -> None:
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


def _losses(loss: float, validation: float | None) -> str:
    return f"loss {loss:.5f}" + ("" if validation is None else f"  validation {validation:.5f}")
