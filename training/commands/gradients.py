"""The verb `gradients`: how gradients flow back through time while recipes train."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

import keras
import numpy as np

from training.commands.backtest import Print
from training.fitting.gradient_probe import GradientFlow, GradientProbe, first_to_last_ratio, randomize_zero_readout
from training.fitting.preparation import prepare_training
from training.fitting.progress import ProgressDisplay
from training.fitting.training_loop import fit_network, solve_echo_state
from training.networks import architectures
from training.recipe import Recipe
from training.reports import charts, forecast_plots
from training.reports.tables import Table, number, text

NOTE = (
    "∂loss/∂x = how much the loss of the last answer changes with the first step of the window, over how much it does "
    "with the last; ∂h_T/∂h_1 the same of the last state; radius = spectral radius of the recurrent weights; "
    "|gradient| = norm over all weights, |step| = what clipping leaves of it. Before training they are measured with "
    "a readout drawn at random where it starts at 0, and would let no gradient through."
)


def compare_gradients(
    recipes: Mapping[str, Recipe], out: Path, display: Callable[[int], ProgressDisplay], say: Print
) -> Path:
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
        flows[name] = probe_training(recipe, display(recipe.training.epochs), say)
    say(f"\n{text(gradient_table(flows, recipes))}\n{NOTE}\n")
    out.mkdir(parents=True, exist_ok=True)
    with np.errstate(invalid="ignore"):  # of infinite gradients
        drawn = {
            name: [
                (flow.loss_gradients / (flow.loss_gradients[-1] or 1.0), flow.state_gradients)
                for flow in (each[0], each[-1])
            ]
            for name, each in flows.items()
        }
    forecast_plots.save(charts.gradients(drawn), out / "gradients.png")
    return out / "gradients.png"


def probe_training(recipe: Recipe, show: ProgressDisplay, say: Print) -> list[GradientFlow]:
    """Trains a recipe's network as `run` does: measures it before, after the first epoch, and as it is kept."""
    keras.utils.set_random_seed(recipe.seed)
    made = prepare_training(recipe, say)
    network = made.build_network(recipe)
    start = network.get_weights()
    randomize_zero_readout(network)
    gauge = GradientProbe(network, recipe, made.train)
    flows = [gauge.measure("before")]
    network.set_weights(start)
    watching = _Watching(show, gauge, flows)
    if recipe.network.cell == "echo_state":
        curve = solve_echo_state(network, recipe, made.train, made.validation, watching)
    else:
        trained = architectures.training_graph(network, recipe.network)
        curve = fit_network(
            trained, recipe.training, recipe.quantiles, made.resampled or made.train, made.validation, watching
        )
    if curve.best:
        flows.append(gauge.measure(f"epoch {curve.best + 1}"))
    return flows


def gradient_table(flows: Mapping[str, Sequence[GradientFlow]], recipes: Mapping[str, Recipe]) -> Table:
    """A row for each moment of each recipe."""
    head = ["recipe", "training", "∂loss/∂x", "verdict", "∂h_T/∂h_1", "radius", "|gradient|", "|step|"]
    rows = []
    for name, each in flows.items():
        unused = ", unused" if recipes[name].network.cell == "echo_state" else ""
        for flow in each:
            state = "-" if flow.state_gradients is None else f"{first_to_last_ratio(flow.state_gradients):.1e}"
            measured = [f"{flow.gradient_norm:.3g}", f"{flow.step_norm:.3g}"] if not unused else ["-", "-"]
            found = [f"{flow.ratio:.1e}", flow.verdict + unused, state, number(flow.spectral_radius)]
            rows.append([name, flow.moment, *found, *measured])
    return Table("Gradients through time", NOTE, head, rows)


class _Watching:
    """Measures after the first epoch, and passes on what it is told."""

    def __init__(self, show: ProgressDisplay, gauge: GradientProbe, flows: list[GradientFlow]) -> None:
        self._show = show
        self._gauge = gauge
        self._flows = flows

    def __enter__(self) -> Self:
        self._show.__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        self._show.__exit__(*exc)

    def on_batch_end(self, epoch: int, batches_done: int, batches: int) -> None:
        self._show.on_batch_end(epoch, batches_done, batches)

    def on_epoch_end(self, epoch: int, epochs: int, loss: float, validation_loss: float | None) -> None:
        self._show.on_epoch_end(epoch, epochs, loss, validation_loss)
        if epoch == 0:
            self._flows.append(self._gauge.measure("epoch 1"))
