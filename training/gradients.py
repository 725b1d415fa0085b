"""How gradients flow back through time: what the loss, and the last state, owe to each step of the window.

A plain recurrent network multiplies its gradient by nearly the same matrix at every step back, so that it vanishes or
explodes with the distance (Bengio, Simard & Frasconi, 1994; Pascanu, Mikolov & Bengio, 2013).

Keras names no derivative that all of its backends know. But it descends gradients on all of them: a weight of 0 that is
added to an input, or to a state, has become minus the gradient after one step at rate 1.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any, Literal, Self

import keras
import numpy as np
from keras import layers

from app.artifact.transform import F32, F64
from training import charts, networks, pictures, reservoir
from training.batches import Encoded
from training.fit import Display, clipping, fit, loss_of, solve
from training.interrupt import held
from training.judge import Say
from training.prepare import prepare
from training.recipe import Recipe
from training.tables import Table, number, text

NOTE = (
    "∂loss/∂x = how much the loss of the last answer changes with the first step of the window, over how much it does "
    "with the last; ∂h_T/∂h_1 the same of the last state; radius = spectral radius of the recurrent weights; "
    "|gradient| = norm over all weights, |step| = what clipping leaves of it. Before training they are measured with "
    "a readout drawn at random where it starts at 0, and would let no gradient through."
)
WINDOWS = 64  # that a gradient is measured on
VANISHING, EXPLODING = 1e-2, 30.0  # first over last; a window that matters a hundred times less at its start is lost

Verdict = Literal["vanishing", "stable", "exploding", "cut"]


@dataclass(frozen=True, eq=False)
class Flow:
    """The gradients of a network at one moment, oldest step first."""

    moment: str
    loss: F64  # (T,) |∂loss/∂x_t| of the last answer's loss, in the mean over windows
    state: F64 | None  # (T,) |∂h_T/∂h_t| over |∂h_T/∂h_T|, as root mean square; none where no layer reads the window
    norm: float  # of the gradient of all weights
    step: float  # the same, as far as clipping lets it through
    radius: float | None  # spectral radius of the recurrent weights; none where there are none, or no numbers any more

    @property
    def ratio(self) -> float:
        """Of the first step to the last."""
        return first_over_last(self.loss)

    @property
    def verdict(self) -> Verdict:
        if not np.isfinite(self.loss).all():
            return "exploding"
        if self.ratio == 0 and self.loss[-1] > 0 and self.loss[np.argmax(self.loss > 0)] > VANISHING * self.loss[-1]:
            return "cut"
        return "vanishing" if self.ratio < VANISHING else "exploding" if self.ratio > EXPLODING else "stable"


def first_over_last(gradients: F64) -> float:
    if not gradients[-1]:
        return float("inf") if gradients[0] else 0.0
    return float(gradients[0]) / float(gradients[-1])


def compare(recipes: Mapping[str, Recipe], out: Path, display: Callable[[int], Display], say: Say) -> Path:
    """Measures each recipe before training, after its first epoch and after its last; prints, and draws.

    Args:
        display: makes what is told of so many epochs.

    Returns:
        The picture.

    Raises:
        DataError: the prices cannot be used.
    """
    flows = {}
    for name, recipe in recipes.items():
        say(f"{name}: {recipe.description}")
        flows[name] = watch(recipe, display(recipe.training.epochs), say)
    say(f"\n{text(table(flows, recipes))}\n{NOTE}\n")
    out.mkdir(parents=True, exist_ok=True)
    with np.errstate(invalid="ignore"):  # of infinite gradients
        drawn = {
            name: [(flow.loss / (flow.loss[-1] or 1.0), flow.state) for flow in (each[0], each[-1])]
            for name, each in flows.items()
        }
    pictures.save(charts.gradients(drawn), out / "gradients.png")
    return out / "gradients.png"


def watch(recipe: Recipe, show: Display, say: Say) -> list[Flow]:
    """Trains a recipe's network as `run` does: measures it before, after the first epoch, and as it is kept."""
    keras.utils.set_random_seed(recipe.seed)
    made = prepare(recipe, say)
    network = made.network(recipe)
    start = network.get_weights()
    draw_readout(network)
    gauge = Gauge(network, recipe, made.train)
    flows = [gauge.measure("before")]
    network.set_weights(start)
    watching = _Watching(show, gauge, flows)
    if recipe.network.cell == "echo_state":
        curve = solve(network, recipe, made.train, made.validation, watching)
    else:
        trained = networks.arranged(network, recipe.network)
        curve = fit(trained, recipe.training, recipe.quantiles, made.redrawn or made.train, made.validation, watching)
    if curve.best:
        flows.append(gauge.measure(f"epoch {curve.best + 1}"))
    return flows


def draw_readout(network: keras.Model) -> None:
    """Draws the weights of the last dense layer at random where they are 0: nothing would flow back through them."""
    *_, readout = (layer for layer in network.layers if isinstance(layer, layers.Dense))
    kernel, bias = readout.get_weights()
    if not kernel.any():
        drawn = keras.initializers.GlorotUniform(seed=1)(kernel.shape)
        readout.set_weights([keras.ops.convert_to_numpy(drawn), bias])


def table(flows: Mapping[str, Sequence[Flow]], recipes: Mapping[str, Recipe]) -> Table:
    """A row for each moment of each recipe."""
    head = ["recipe", "training", "∂loss/∂x", "verdict", "∂h_T/∂h_1", "radius", "|gradient|", "|step|"]
    rows = []
    for name, each in flows.items():
        unused = ", unused" if recipes[name].network.cell == "echo_state" else ""
        for flow in each:
            state = "-" if flow.state is None else f"{first_over_last(flow.state):.1e}"
            measured = [f"{flow.norm:.3g}", f"{flow.step:.3g}"] if not unused else ["-", "-"]
            found = [f"{flow.ratio:.1e}", flow.verdict + unused, state, number(flow.radius)]
            rows.append([name, flow.moment, *found, *measured])
    return Table("Gradients through time", NOTE, head, rows)


class Gauge:
    """Measures one network, as often as asked; leaves it as it is, its dropout's random numbers too."""

    def __init__(self, network: keras.Model, recipe: Recipe, lessons: Encoded) -> None:
        """
        Args:
            lessons: inputs (N, T, F) and their targets, as in training.
        """
        chosen = np.unique(np.linspace(0, len(lessons[0]) - 1, WINDOWS).astype(int))
        self._inputs, self._targets = lessons[0][chosen], lessons[1][chosen]
        self._network = network
        self._recipe = recipe
        self._trained = networks.arranged(network, recipe.network)
        self._reader = _reader(network)

    @held()
    @np.errstate(invalid="ignore")  # of infinite weights
    def measure(self, moment: str) -> Flow:
        count = len(self._inputs)
        loss = loss_of(self._recipe.training, self._recipe.quantiles)
        window = keras.Input(batch_shape=self._inputs.shape)
        whole = keras.Model(window, self._trained(window))
        free = clipped = self._descend(whole, self._inputs, self._targets, loss)
        if self._recipe.training.clips:
            clipped = self._descend(whole, self._inputs, self._targets, loss, **clipping(self._recipe.training))
        nudge = _Nudge()
        horizon = self._recipe.horizon  # of the last answer alone: each earlier step matters to its own
        last = keras.Model(window, self._trained(nudge(window))[:, -horizon * len(self._recipe.quantiles) :])
        self._descend(last, self._inputs, self._targets[:, -horizon:], loss)
        by_input = count * np.linalg.norm(_numbers(nudge), axis=2)  # (N, T); the loss is a mean over windows
        return Flow(
            moment=moment,
            loss=by_input.mean(axis=0),
            state=None if self._reader is None else self._state(self._reader),
            norm=free,
            step=clipped,
            radius=None if self._reader is None else radius(self._reader),
        )

    def _state(self, reader: layers.RNN) -> F64:
        """Root mean squares of gradients of random projections: those of the Jacobian's entries (Hutchinson, 1990)."""
        inputs: Any = self._inputs
        for layer in takewhile(lambda layer: layer is not reader, self._network.layers):
            if isinstance(layer, layers.RNN):  # what is between them acts only while training
                with _kept(layer):  # it draws for dropout all the same
                    inputs = layer(inputs, training=False)
        inputs = keras.ops.convert_to_numpy(inputs)  # (N, T, ·)
        window = keras.Input(batch_shape=inputs.shape)
        nudge = _StateNudge(sum(_sizes(reader.cell)))
        last = layers.RNN(_NudgedCell(reader.cell))(nudge(window))
        ways = np.random.default_rng(1).standard_normal(last.shape).astype(np.float32)
        self._descend(keras.Model(window, last), inputs, ways, _along)
        size = np.sqrt(np.mean(np.sum(_numbers(nudge) ** 2, axis=2), axis=0))  # (T,)
        found: F64 = size / size[-1]
        return found

    def _descend(self, model: keras.Model, inputs: F32, targets: Any, loss: Any, **clip: float | None) -> float:
        """One step of plain gradient descent at rate 1, undone but for nudges; the norm of what it did to weights."""
        before = self._network.get_weights()
        with _kept(self._network):
            model.compile(keras.optimizers.SGD(1.0, **clip), loss, run_eagerly=True)
            model.train_on_batch(inputs, targets)
            moved = [after - start for after, start in zip(self._network.get_weights(), before, strict=True)]
        return float(np.sqrt(sum(np.sum(each.astype(np.float64) ** 2) for each in moved)))


@contextmanager
def _kept(layer: layers.Layer) -> Iterator[None]:
    """Gives all variables back their values in the end: weights, and the states of what draws for dropout."""
    before = [keras.ops.copy(each.value) for each in layer.variables]
    try:
        yield
    finally:
        for variable, value in zip(layer.variables, before, strict=True):
            variable.assign(value)


class _Watching:
    """Measures after the first epoch, and passes on what it is told."""

    def __init__(self, show: Display, gauge: Gauge, flows: list[Flow]) -> None:
        self._show = show
        self._gauge = gauge
        self._flows = flows

    def __enter__(self) -> Self:
        self._show.__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        self._show.__exit__(*exc)

    def batch(self, epoch: int, done: int, batches: int) -> None:
        self._show.batch(epoch, done, batches)

    def epoch(self, epoch: int, epochs: int, loss: float, validation: float | None) -> None:
        self._show.epoch(epoch, epochs, loss, validation)
        if epoch == 0:
            self._flows.append(self._gauge.measure("epoch 1"))


def _reader(network: keras.Model) -> layers.RNN | None:
    """The last recurrent layer that goes through the window."""
    found = None
    for layer in network.layers:
        if isinstance(layer, layers.RNN):
            found = layer
        if isinstance(layer, layers.RepeatVector):  # beyond it, what is made of the window is gone through
            return found
    return found


def radius(layer: layers.RNN) -> float | None:
    """The spectral radius of the recurrent weights, in a cell with gates of those that make its candidate."""
    recurrent = np.asarray(layer.cell.get_weights()[1], dtype=np.float64)  # (U, G·U)
    if not np.isfinite(recurrent).all():
        return None
    gate = 2 if recurrent.shape[1] > layer.units else 0
    return reservoir.spectral_radius(recurrent[:, gate * layer.units : (gate + 1) * layer.units])


def _numbers(nudge: layers.Layer) -> F64:
    """(N, T, ·): how far it was moved."""
    moved: F64 = keras.ops.convert_to_numpy(nudge.moved).astype(np.float64)
    return moved


def _along(ways: Any, state: Any) -> Any:
    return keras.ops.sum(ways * state, axis=-1)


def _sizes(cell: layers.Layer) -> list[int]:
    """Of each array that a cell hands on: the state, and the memory of an LSTM."""
    return list(cell.state_size) if isinstance(cell.state_size, Sequence) else [cell.state_size]


class _Nudge(layers.Layer):  # type: ignore[misc]  # Keras has no type hints
    """Adds a weight of the shape of one batch, which is 0."""

    def build(self, shape: tuple[int, ...]) -> None:
        self.moved = self.add_weight(shape=shape, initializer="zeros")

    def call(self, inputs: Any) -> Any:
        return inputs + self.moved


class _StateNudge(layers.Layer):  # type: ignore[misc]
    """Appends to each step what is to be added to its state: a weight, which is 0."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self._size = size

    def build(self, shape: tuple[int, ...]) -> None:
        self.moved = self.add_weight(shape=(*shape[:2], self._size), initializer="zeros")

    def call(self, inputs: Any) -> Any:
        return keras.ops.concatenate([inputs, self.moved], axis=2)


class _NudgedCell(layers.Layer):  # type: ignore[misc]
    """A cell whose state is nudged after each step, by what its input ends with."""

    def __init__(self, cell: layers.Layer) -> None:
        super().__init__()
        self.cell = cell
        self.state_size = cell.state_size
        self._sizes = _sizes(cell)

    def call(self, inputs: Any, states: Sequence[Any]) -> Any:
        places = np.cumsum(self._sizes[::-1])[::-1]
        inputs, *nudges = keras.ops.split(inputs, [int(inputs.shape[-1] - place) for place in places], axis=-1)
        _, states = self.cell(inputs, states, training=False)
        moved = [state + nudge for state, nudge in zip(states, nudges, strict=True)]
        return moved[0], moved
