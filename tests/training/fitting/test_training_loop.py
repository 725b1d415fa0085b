"""Fitting: which weights are kept, what is told of it, and how large a step may be."""

import io
import signal
import sys
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, Self

import keras
import numpy as np
import pytest
from keras import layers

from app.artifact.evidence import Curve
from app.artifact.transform import F32, F64
from training.data.blocks import EncodedSamples
from training.fitting.progress import ProgressBar, ProgressLines, progress_display
from training.fitting.resampled_dataset import ResampledDataset
from training.fitting.training_loop import _rate, fit_network
from training.recipe import Training

pytestmark = pytest.mark.slow

ROWS, STEPS = 40, 4


class ProgressRecorder:
    """A progress_display that remembers what it was told."""

    def __init__(self) -> None:
        self.batches: list[tuple[int, int, int]] = []
        self.epochs: list[tuple[int, int, float, float | None]] = []
        self.open = False

    def __enter__(self) -> Self:
        self.open = True
        return self

    def __exit__(self, *exc: object) -> None:
        self.open = False

    def batch(self, epoch: int, done: int, batches: int) -> None:
        assert self.open
        self.batches.append((epoch, done, batches))

    def epoch(self, epoch: int, epochs: int, loss: float, validation: float | None) -> None:
        assert self.open
        self.epochs.append((epoch, epochs, loss, validation))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def all_same(target: float, rows: int = ROWS) -> tuple[F32, F64]:
    """Inputs that say nothing, and one target for all."""
    return np.zeros((rows, STEPS, 1), dtype=np.float32), np.full((rows, 1), target)


class Eager(keras.Sequential):  # type: ignore[misc]  # Keras has no type hints
    """Trains step by step: what so few steps cost is mostly the making of a graph for them."""

    def compile(self, **how: Any) -> None:
        super().compile(run_eagerly=True, **how)


def small_network(outputs: int = 1, dropout: float = 0.0) -> keras.Model:
    """Hardly more than an output bias, which starts at 0; a recurrent one would learn the same in more time."""
    return Eager([keras.Input((STEPS, 1)), layers.Flatten(), layers.Dropout(dropout), layers.Dense(outputs)])


def output(network: keras.Model) -> float:
    return float(np.asarray(network(all_same(0.0)[0]))[0, 0])


def training(**changes: Any) -> Training:
    return Training.model_validate({"loss": "mse", "learning_rate": 0.2, "batch": ROWS, "epochs": 10} | changes)


class Interrupting(ProgressRecorder):
    """Ctrl-C is typed when it is told of a batch."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self._at = at

    def batch(self, epoch: int, done: int, batches: int) -> None:
        super().batch(epoch, done, batches)
        if done == self._at:
            signal.raise_signal(signal.SIGINT)


# Ctrl-C


@pytest.mark.parametrize("at", [2, 5])
def test_ctrl_c_comes_between_two_batches(at: int) -> None:
    """After that of the next, or in validation."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    shown = Interrupting(at)
    try:
        with pytest.raises(KeyboardInterrupt):
            fit_network(small_network(), training(batch=8), [0.5], all_same(1.0), all_same(0.35), shown)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert shown.batches == [(0, done, 5) for done in range(1, at + 1)]
    assert shown.epochs == []
    assert not shown.open


# Which weights are kept


def numbers(losses: Sequence[float | None]) -> list[float]:
    """Of a curve in which every loss is one."""
    return [loss for loss in losses if loss is not None]


def test_the_weights_of_the_best_epoch_are_kept() -> None:
    """The output goes from 0 towards 1, and past the 0.35 that validates: better at first, then ever worse."""
    network = small_network()
    curve = fit_network(
        network, training(epochs=50, patience=2), [0.5], all_same(1.0), all_same(0.35), ProgressRecorder()
    )
    assert 1 <= curve.best < 4
    assert curve.validation[curve.best] == min(numbers(curve.validation))
    assert len(curve.loss) == len(curve.validation) == curve.best + 1 + 2
    assert curve.loss == sorted(numbers(curve.loss), reverse=True)
    assert (output(network) - 0.35) ** 2 == pytest.approx(curve.validation[curve.best], rel=1e-4)


def test_the_best_weights_are_kept_where_the_epochs_end_before_patience_does() -> None:
    network = small_network()
    curve = fit_network(
        network, training(epochs=4, patience=50), [0.5], all_same(1.0), all_same(0.35), ProgressRecorder()
    )
    assert len(curve.loss) == 4
    assert curve.best < 3
    assert (output(network) - 0.35) ** 2 == pytest.approx(curve.validation[curve.best], rel=1e-4)


def test_without_patience_the_last_weights_are_kept() -> None:
    network = small_network()
    curve = fit_network(network, training(epochs=4), [0.5], all_same(1.0), all_same(0.35), ProgressRecorder())
    assert curve.best == 3
    assert (output(network) - 0.35) ** 2 == pytest.approx(curve.validation[-1], rel=1e-4)
    validation = numbers(curve.validation)
    assert validation[-1] > min(validation)


def test_without_a_validation_block_there_is_no_validation_loss() -> None:
    shown = ProgressRecorder()
    curve = fit_network(small_network(), training(epochs=2), [0.5], all_same(1.0), None, shown)
    assert curve == Curve(loss=curve.loss, validation=[], best=1)
    assert [told[3] for told in shown.epochs] == [None, None]


def test_the_same_seed_trains_the_same() -> None:
    inputs = np.random.default_rng(1).normal(size=(ROWS, STEPS, 1)).astype(np.float32)
    losses = []
    for seed in (1, 1, 2):
        keras.utils.set_random_seed(seed)
        network = small_network(dropout=0.2)
        curve = fit_network(
            network,
            training(batch=8, epochs=1),
            [0.5],
            (inputs, inputs[:, -1].astype(np.float64)),
            None,
            ProgressRecorder(),
        )
        losses.append(curve.loss)
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert losses[0] != pytest.approx(losses[2], rel=1e-5)


def test_pinball_finds_the_quantiles() -> None:
    rng = np.random.default_rng(1)
    train = np.zeros((200, STEPS, 1), dtype=np.float32), rng.uniform(0, 1, (200, 1))
    keras.utils.set_random_seed(1)
    network = small_network(outputs=3)
    network.layers[-1].bias.assign([0.5, 0.5, 0.5])
    recipe = training(loss="pinball", epochs=8, batch=40, learning_rate=0.03)
    fit_network(network, recipe, [0.1, 0.5, 0.9], train, None, ProgressRecorder())
    assert np.asarray(network(train[0][:1]))[0] == pytest.approx([0.1, 0.5, 0.9], abs=0.08)


# How large a step may be


def step(monkeypatch: pytest.MonkeyPatch, **clip: float | None) -> list[F32]:
    """What one step of plain gradient descent at rate 1 adds to each weight array.

    Adam divides the gradient by its own size, which would hide what was clipped.
    """
    monkeypatch.setattr(keras.optimizers, "Adam", keras.optimizers.SGD)
    keras.utils.set_random_seed(1)
    network = small_network()
    before = network.get_weights()
    rows = np.random.default_rng(1).normal(size=(ROWS, STEPS, 1)).astype(np.float32)
    recipe = training(epochs=1, learning_rate=1.0, **clip)
    fit_network(network, recipe, [0.5], (rows, np.full((ROWS, 1), 10.0)), None, ProgressRecorder())
    return [after - start for after, start in zip(network.get_weights(), before, strict=True)]


def step_size(clip_norm: float | None, monkeypatch: pytest.MonkeyPatch) -> float:
    """The norm over all weights."""
    return float(np.sqrt(sum(np.sum(each**2) for each in step(monkeypatch, clip_norm=clip_norm))))


def test_the_norm_of_a_clipped_step_over_all_weights_is_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    assert step_size(None, monkeypatch) > 1
    assert step_size(0.05, monkeypatch) == pytest.approx(0.05, rel=1e-3)


def test_a_step_within_the_limit_is_not_clipped(monkeypatch: pytest.MonkeyPatch) -> None:
    assert step_size(1e6, monkeypatch) == pytest.approx(step_size(None, monkeypatch), rel=1e-4)


def test_each_weight_arrays_own_norm_can_be_clipped(monkeypatch: pytest.MonkeyPatch) -> None:
    free = [np.linalg.norm(each) for each in step(monkeypatch)]
    assert min(free) > 0.05
    assert [np.linalg.norm(each) for each in step(monkeypatch, clip_weight_norm=0.05)] == pytest.approx([0.05, 0.05])


def test_values_can_be_clipped_each_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    free, clipped = step(monkeypatch), step(monkeypatch, clip_value=2.0)
    for each, limited in zip(free, clipped, strict=True):
        assert limited == pytest.approx(np.clip(each, -2, 2), rel=1e-4)
    assert max(np.abs(each).max() for each in free) > 2 > min(np.abs(each).min() for each in free)


def test_the_recipes_learning_rate_is_used() -> None:
    network = small_network()
    fit_network(network, training(epochs=1, learning_rate=0.25), [0.5], all_same(1.0), None, ProgressRecorder())
    assert output(network) == pytest.approx(0.25, rel=1e-3)  # adam's first step has the size of the learning rate


# How the learning rate goes


def rates(schedule: str, epochs: int, batch: int) -> list[float]:
    """The learning rate after each step."""
    network = small_network()
    found: list[float] = []

    class Watching(ProgressRecorder):
        def batch(self, epoch: int, done: int, batches: int) -> None:
            found.append(float(np.asarray(network.optimizer.learning_rate)))

    recipe = training(schedule=schedule, epochs=epochs, batch=batch)
    fit_network(network, recipe, [0.5], all_same(1.0), None, Watching())
    return found


def test_a_constant_rate_stays() -> None:
    assert rates("constant", 2, 10) == pytest.approx([0.2] * 8)


def test_a_cosine_spans_all_steps_of_all_epochs() -> None:
    found = rates("cosine", 2, 10)  # 8 steps, the first of which brings it up
    assert found[0] == pytest.approx(0.2)
    assert found == sorted(found, reverse=True)
    assert found[-1] == pytest.approx(0.01 * 0.2, rel=1e-3)


def test_a_cosine_rises_in_a_fiftieth_of_the_steps_and_falls_to_a_hundredth() -> None:
    rate = _rate(training(schedule="cosine"), 100)
    assert not isinstance(rate, float)
    found = [float(np.asarray(rate(step))) for step in range(101)]
    assert found[:3] == pytest.approx([0, 0.1, 0.2])
    assert found[2:] == sorted(found[2:], reverse=True)
    assert found[2 + 49] == pytest.approx(0.2 * (0.01 + 0.99 / 2), rel=1e-3)  # in the middle
    assert found[-1] == pytest.approx(0.01 * 0.2, rel=1e-3)


def test_a_cosine_of_a_single_step_is_a_rate_too() -> None:
    assert rates("cosine", 1, ROWS) == pytest.approx([0.2])


# Samples that are drawn anew for each epoch


def redrawn(kept: float | None, *targets: float, batch: int = 8) -> ResampledDataset:
    """16 samples of a kept target, if there is one, and 16 of another target in each epoch."""
    samples = [] if kept is None else [all_same(kept, 16)]
    return ResampledDataset(samples, lambda epoch: [all_same(targets[epoch], 16)], batch, len(targets), seed=1)


def test_each_epoch_learns_from_what_is_drawn_for_it() -> None:
    network = small_network()
    recipe = training(learning_rate=1e-9, epochs=3)
    curve = fit_network(network, recipe, [0.5], redrawn(None, 1.0, 2.0, 3.0), None, ProgressRecorder())
    assert curve.loss == pytest.approx([1.0, 4.0, 9.0], rel=1e-4)


def test_what_is_kept_is_learnt_from_in_every_epoch() -> None:
    recipe = training(learning_rate=1e-9, epochs=2)
    curve = fit_network(small_network(), recipe, [0.5], redrawn(4.0, 0.0, 2.0), None, ProgressRecorder())
    assert curve.loss == pytest.approx([16 / 2, (16 + 4) / 2], rel=1e-4)


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_a_display_is_told_of_redrawn_batches_too(schedule: str) -> None:
    shown = ProgressRecorder()
    recipe = training(epochs=2, schedule=schedule, learning_rate=0.01)
    curve = fit_network(small_network(), recipe, [0.5], redrawn(1.0, 1.0, 1.0), all_same(1.0), shown)
    assert shown.batches == [(epoch, done, 4) for epoch in (0, 1) for done in (1, 2, 3, 4)]  # 32 rows by 8
    assert len(curve.loss) == len(curve.validation) == 2
    before, after = numbers(curve.validation)
    assert after < before < 1


def test_patience_ends_the_drawing() -> None:
    drawn: list[int] = []

    def draw(epoch: int) -> list[EncodedSamples]:
        drawn.append(epoch)
        return [all_same(1.0, 16)]

    network = small_network()
    recipe = training(epochs=50, patience=2)
    curve = fit_network(
        network, recipe, [0.5], ResampledDataset([], draw, 16, 50, seed=1), all_same(0.35), ProgressRecorder()
    )
    assert len(curve.loss) == curve.best + 1 + 2 < 50
    assert len(drawn) <= len(curve.loss) + 1
    assert (output(network) - 0.35) ** 2 == pytest.approx(curve.validation[curve.best], rel=1e-4)


# What is told


def test_a_display_is_told_of_every_batch_and_epoch() -> None:
    shown = ProgressRecorder()
    curve = fit_network(small_network(), training(epochs=2, batch=16), [0.5], all_same(1.0), all_same(1.0), shown)
    assert shown.batches == [(epoch, done, 3) for epoch in (0, 1) for done in (1, 2, 3)]  # 40 rows by 16
    assert [told[:2] for told in shown.epochs] == [(0, 2), (1, 2)]
    assert [told[2] for told in shown.epochs] == curve.loss
    assert [told[3] for told in shown.epochs] == curve.validation
    assert not shown.open


def test_a_display_is_closed_where_training_is_interrupted() -> None:
    class Interrupted(ProgressRecorder):
        def epoch(self, epoch: int, epochs: int, loss: float, validation: float | None) -> None:
            raise KeyboardInterrupt

    shown = Interrupted()
    with pytest.raises(KeyboardInterrupt):
        fit_network(small_network(), training(epochs=2), [0.5], all_same(1.0), None, shown)
    assert not shown.open


def test_lines_say_losses_and_time_left(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("training.fitting.progress.time", SimpleNamespace(monotonic=lambda: now[0]))
    lines = ProgressLines()
    with lines:
        now[0] += 6
        lines.batch(0, 1, 1)
        lines.epoch(0, 4, 0.5, None)
        now[0] += 6
        lines.epoch(1, 4, 0.25, 0.125)
    assert capsys.readouterr().out.splitlines() == [
        "epoch 1/4  loss 0.50000  18 s left",
        "epoch 2/4  loss 0.25000  validation 0.12500  12 s left",
    ]


def test_lines_are_printed_while_training(capsys: pytest.CaptureFixture[str]) -> None:
    fit_network(small_network(), training(epochs=2), [0.5], all_same(1.0), all_same(1.0), ProgressLines())
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines] == ["epoch 1/2", "epoch 2/2"]
    assert all("loss" in line and "validation" in line and line.endswith(" s left") for line in lines)
    assert lines[-1].endswith("  0 s left")


def write_to(monkeypatch: pytest.MonkeyPatch, stream: io.StringIO) -> None:
    """Makes `stream` standard output, and forgets what the environment says about terminals."""
    for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stdout", stream)


def test_a_bar_moves_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    write_to(monkeypatch, terminal)
    shown = progress_display(2)
    assert isinstance(shown, ProgressBar)
    fit_network(small_network(), training(epochs=2, batch=16), [0.5], all_same(1.0), all_same(1.0), shown)
    drawn = terminal.getvalue()
    assert "epoch" in drawn
    assert "2/2" in drawn
    assert "validation" in drawn


def test_a_bar_that_is_interrupted_leaves_the_terminal_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    write_to(monkeypatch, terminal)
    hide, show = "\x1b[?25l", "\x1b[?25h"

    def draw_and_interrupt() -> None:
        with ProgressBar(3) as bar:
            bar.batch(0, 1, 2)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        draw_and_interrupt()
    assert terminal.getvalue().count(hide) == terminal.getvalue().count(show) == 1


def test_elsewhere_than_on_a_terminal_there_are_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    write_to(monkeypatch, io.StringIO())
    assert isinstance(progress_display(2), ProgressLines)
