"""The training loop: interruption, kept weights, clipping, learning rates, resampling and progress."""

import signal
from collections.abc import Sequence

import keras
import numpy as np
import pytest

from app.artifact.arrays import F32
from app.artifact.evidence import Curve
from tests.training.fitting.progress_recorder import ProgressRecorder
from tests.training.fitting.small_network import ROWS, STEPS, constant_samples, small_network, training_config
from training.data.split import EncodedSamples
from training.fitting.resampled_dataset import ResampledDataset
from training.fitting.training_loop import _learning_rate, fit_network

pytestmark = pytest.mark.slow


def output(network: keras.Model) -> float:
    return float(np.asarray(network(constant_samples(0.0)[0]))[0, 0])


class InterruptingRecorder(ProgressRecorder):
    """Sends SIGINT at the end of a batch."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self._at = at

    def on_batch_end(self, epoch: int, batches_done: int, batches: int) -> None:
        super().on_batch_end(epoch, batches_done, batches)
        if batches_done == self._at:
            signal.raise_signal(signal.SIGINT)


# Interruption


@pytest.mark.parametrize("at", [2, 5])
def test_fit_network_sigint_arrives_between_two_batches(at: int) -> None:
    """At the end of the next training batch, or of the first validation batch."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    progress = InterruptingRecorder(at)
    try:
        with pytest.raises(KeyboardInterrupt):
            fit_network(
                small_network(),
                training_config(batch=8),
                [0.5],
                constant_samples(1.0),
                constant_samples(0.35),
                progress,
            )
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert progress.batches == [(0, done, 5) for done in range(1, at + 1)]
    assert progress.epochs == []
    assert not progress.is_open


# Kept weights


def finite_losses(losses: Sequence[float | None]) -> list[float]:
    """The losses of a curve, none of which may be None."""
    return [loss for loss in losses if loss is not None]


def test_fit_network_patience_keeps_the_best_weights() -> None:
    """The output rises from 0 towards 1, past the validation target of 0.35: the loss first falls, then rises."""
    network = small_network()
    curve = fit_network(
        network,
        training_config(epochs=50, patience=2),
        [0.5],
        constant_samples(1.0),
        constant_samples(0.35),
        ProgressRecorder(),
    )
    assert 1 <= curve.best < 4
    assert curve.validation[curve.best] == min(finite_losses(curve.validation))
    assert len(curve.loss) == len(curve.validation) == curve.best + 1 + 2
    assert curve.loss == sorted(finite_losses(curve.loss), reverse=True)
    assert (output(network) - 0.35) ** 2 == pytest.approx(curve.validation[curve.best], rel=1e-4)


def test_fit_network_keeps_the_best_weights_if_epochs_run_out() -> None:
    network = small_network()
    curve = fit_network(
        network,
        training_config(epochs=4, patience=50),
        [0.5],
        constant_samples(1.0),
        constant_samples(0.35),
        ProgressRecorder(),
    )
    assert len(curve.loss) == 4
    assert curve.best < 3
    assert (output(network) - 0.35) ** 2 == pytest.approx(curve.validation[curve.best], rel=1e-4)


def test_fit_network_without_patience_keeps_the_last_weights() -> None:
    network = small_network()
    curve = fit_network(
        network, training_config(epochs=4), [0.5], constant_samples(1.0), constant_samples(0.35), ProgressRecorder()
    )
    assert curve.best == 3
    assert (output(network) - 0.35) ** 2 == pytest.approx(curve.validation[-1], rel=1e-4)
    validation = finite_losses(curve.validation)
    assert validation[-1] > min(validation)


def test_fit_network_without_validation_has_no_such_loss() -> None:
    progress = ProgressRecorder()
    curve = fit_network(small_network(), training_config(epochs=2), [0.5], constant_samples(1.0), None, progress)
    assert curve == Curve(loss=curve.loss, validation=[], best=1)
    assert [epoch[3] for epoch in progress.epochs] == [None, None]


def test_fit_network_seed_determines_the_losses() -> None:
    inputs = np.random.default_rng(1).normal(size=(ROWS, STEPS, 1)).astype(np.float32)
    losses = []
    for seed in (1, 1, 2):
        keras.utils.set_random_seed(seed)
        network = small_network(dropout=0.2)
        curve = fit_network(
            network,
            training_config(batch=8, epochs=1),
            [0.5],
            (inputs, inputs[:, -1].astype(np.float64)),
            None,
            ProgressRecorder(),
        )
        losses.append(curve.loss)
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert losses[0] != pytest.approx(losses[2], rel=1e-5)


def test_fit_network_pinball_loss_finds_the_quantiles() -> None:
    rng = np.random.default_rng(1)
    train = np.zeros((200, STEPS, 1), dtype=np.float32), rng.uniform(0, 1, (200, 1))
    keras.utils.set_random_seed(1)
    network = small_network(outputs=3)
    network.layers[-1].bias.assign([0.5, 0.5, 0.5])
    config = training_config(loss="pinball", epochs=8, batch=40, learning_rate=0.03)
    fit_network(network, config, [0.1, 0.5, 0.9], train, None, ProgressRecorder())
    assert np.asarray(network(train[0][:1]))[0] == pytest.approx([0.1, 0.5, 0.9], abs=0.08)


# Clipping


def step(monkeypatch: pytest.MonkeyPatch, **clip: float | None) -> list[F32]:
    """The change of each weight array in one step of plain gradient descent at rate 1.

    Adam normalizes the gradient, which would hide the clipping.
    """
    monkeypatch.setattr(keras.optimizers, "Adam", keras.optimizers.SGD)
    keras.utils.set_random_seed(1)
    network = small_network()
    before = network.get_weights()
    rows = np.random.default_rng(1).normal(size=(ROWS, STEPS, 1)).astype(np.float32)
    config = training_config(epochs=1, learning_rate=1.0, **clip)
    fit_network(network, config, [0.5], (rows, np.full((ROWS, 1), 10.0)), None, ProgressRecorder())
    return [after - start for after, start in zip(network.get_weights(), before, strict=True)]


def step_size(clip_norm: float | None, monkeypatch: pytest.MonkeyPatch) -> float:
    """The norm of the step over all weights."""
    return float(np.sqrt(sum(np.sum(each**2) for each in step(monkeypatch, clip_norm=clip_norm))))


def test_fit_network_clip_norm_limits_the_whole_step(monkeypatch: pytest.MonkeyPatch) -> None:
    assert step_size(None, monkeypatch) > 1
    assert step_size(0.05, monkeypatch) == pytest.approx(0.05, rel=1e-3)


def test_fit_network_clip_norm_keeps_a_smaller_step(monkeypatch: pytest.MonkeyPatch) -> None:
    assert step_size(1e6, monkeypatch) == pytest.approx(step_size(None, monkeypatch), rel=1e-4)


def test_fit_network_clip_weight_norm_limits_each_array(monkeypatch: pytest.MonkeyPatch) -> None:
    unclipped = [np.linalg.norm(each) for each in step(monkeypatch)]
    assert min(unclipped) > 0.05
    assert [np.linalg.norm(each) for each in step(monkeypatch, clip_weight_norm=0.05)] == pytest.approx([0.05, 0.05])


def test_fit_network_clip_value_limits_each_component(monkeypatch: pytest.MonkeyPatch) -> None:
    unclipped, clipped = step(monkeypatch), step(monkeypatch, clip_value=2.0)
    for each, limited in zip(unclipped, clipped, strict=True):
        assert limited == pytest.approx(np.clip(each, -2, 2), rel=1e-4)
    assert max(np.abs(each).max() for each in unclipped) > 2 > min(np.abs(each).min() for each in unclipped)


def test_fit_network_uses_the_learning_rate() -> None:
    network = small_network()
    fit_network(
        network, training_config(epochs=1, learning_rate=0.25), [0.5], constant_samples(1.0), None, ProgressRecorder()
    )
    assert output(network) == pytest.approx(0.25, rel=1e-3)  # Adam's first step has the size of the learning rate


# Learning rate schedules


def rates(schedule: str, epochs: int, batch: int) -> list[float]:
    """The learning rate after each step."""
    network = small_network()
    found: list[float] = []

    class RateRecorder(ProgressRecorder):
        def on_batch_end(self, epoch: int, batches_done: int, batches: int) -> None:
            found.append(float(np.asarray(network.optimizer.learning_rate)))

    config = training_config(schedule=schedule, epochs=epochs, batch=batch)
    fit_network(network, config, [0.5], constant_samples(1.0), None, RateRecorder())
    return found


def test_fit_network_constant_schedule() -> None:
    assert rates("constant", 2, 10) == pytest.approx([0.2] * 8)


def test_fit_network_cosine_schedule_spans_all_epochs() -> None:
    found = rates("cosine", 2, 10)  # 8 steps, the first of which is the warm-up
    assert found[0] == pytest.approx(0.2)
    assert found == sorted(found, reverse=True)
    assert found[-1] == pytest.approx(0.01 * 0.2, rel=1e-3)


def test_learning_rate_cosine_warms_up_and_decays() -> None:
    rate = _learning_rate(training_config(schedule="cosine"), 100)
    assert not isinstance(rate, float)
    found = [float(np.asarray(rate(step))) for step in range(101)]
    assert found[:3] == pytest.approx([0, 0.1, 0.2])
    assert found[2:] == sorted(found[2:], reverse=True)
    assert found[2 + 49] == pytest.approx(0.2 * (0.01 + 0.99 / 2), rel=1e-3)  # halfway
    assert found[-1] == pytest.approx(0.01 * 0.2, rel=1e-3)


def test_fit_network_cosine_schedule_of_one_step() -> None:
    assert rates("cosine", 1, ROWS) == pytest.approx([0.2])


# Resampled datasets


def resampled(fixed: float | None, *targets: float, batch: int = 8) -> ResampledDataset:
    """16 samples with a fixed target, if there is one, and 16 samples with another target in each epoch."""
    samples = [] if fixed is None else [constant_samples(fixed, 16)]
    return ResampledDataset(samples, lambda epoch: [constant_samples(targets[epoch], 16)], batch, len(targets), seed=1)


def test_fit_network_resampled_uses_each_epochs_samples() -> None:
    network = small_network()
    config = training_config(learning_rate=1e-9, epochs=3)
    curve = fit_network(network, config, [0.5], resampled(None, 1.0, 2.0, 3.0), None, ProgressRecorder())
    assert curve.loss == pytest.approx([1.0, 4.0, 9.0], rel=1e-4)


def test_fit_network_resampled_uses_fixed_samples_every_epoch() -> None:
    config = training_config(learning_rate=1e-9, epochs=2)
    curve = fit_network(small_network(), config, [0.5], resampled(4.0, 0.0, 2.0), None, ProgressRecorder())
    assert curve.loss == pytest.approx([16 / 2, (16 + 4) / 2], rel=1e-4)


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_fit_network_resampled_reports_progress(schedule: str) -> None:
    progress = ProgressRecorder()
    config = training_config(epochs=2, schedule=schedule, learning_rate=0.01)
    curve = fit_network(small_network(), config, [0.5], resampled(1.0, 1.0, 1.0), constant_samples(1.0), progress)
    assert progress.batches == [(epoch, done, 4) for epoch in (0, 1) for done in (1, 2, 3, 4)]  # 32 rows by 8
    assert len(curve.loss) == len(curve.validation) == 2
    before, after = finite_losses(curve.validation)
    assert after < before < 1


def test_fit_network_resampled_stops_drawing_with_patience() -> None:
    drawn: list[int] = []

    def draw(epoch: int) -> list[EncodedSamples]:
        drawn.append(epoch)
        return [constant_samples(1.0, 16)]

    network = small_network()
    config = training_config(epochs=50, patience=2)
    curve = fit_network(
        network, config, [0.5], ResampledDataset([], draw, 16, 50, seed=1), constant_samples(0.35), ProgressRecorder()
    )
    assert len(curve.loss) == curve.best + 1 + 2 < 50
    assert len(drawn) <= len(curve.loss) + 1
    assert (output(network) - 0.35) ** 2 == pytest.approx(curve.validation[curve.best], rel=1e-4)


# Progress


def test_fit_network_reports_every_batch_and_epoch() -> None:
    progress = ProgressRecorder()
    curve = fit_network(
        small_network(),
        training_config(epochs=2, batch=16),
        [0.5],
        constant_samples(1.0),
        constant_samples(1.0),
        progress,
    )
    assert progress.batches == [(epoch, done, 3) for epoch in (0, 1) for done in (1, 2, 3)]  # 40 rows by 16
    assert [epoch[:2] for epoch in progress.epochs] == [(0, 2), (1, 2)]
    assert [epoch[2] for epoch in progress.epochs] == curve.loss
    assert [epoch[3] for epoch in progress.epochs] == curve.validation
    assert not progress.is_open


def test_fit_network_closes_the_display_if_interrupted() -> None:
    class FailingRecorder(ProgressRecorder):
        def on_epoch_end(self, epoch: int, epochs: int, loss: float, validation_loss: float | None) -> None:
            raise KeyboardInterrupt

    progress = FailingRecorder()
    with pytest.raises(KeyboardInterrupt):
        fit_network(small_network(), training_config(epochs=2), [0.5], constant_samples(1.0), None, progress)
    assert not progress.is_open
