"""The command `gradients`: measure how gradients flow back through time while recipes train."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

import keras
import numpy as np

from training.commands.backtest import PrintLine
from training.fitting.gradient_probe import GradientFlow, GradientProbe, first_to_last_ratio, randomize_zero_readout
from training.fitting.preparation import prepare_training
from training.fitting.progress import ProgressDisplay
from training.fitting.training_loop import fit_network, solve_echo_state
from training.networks import architectures
from training.recipe import Recipe
from training.reports.comparison_charts import plot_gradients
from training.reports.plot_style import save_png
from training.reports.tables import MISSING, Table, format_number

NOTE = (
    "∂loss/∂x: gradient of the last output's loss with respect to the first step of the window, divided by the "
    "gradient with respect to the last step. ∂h_T/∂h_1: the same ratio for the gradient of the last state. verdict: "
    "how gradients change with the distance; cut: truncation stops them; unused: the network is not trained by "
    "gradient descent. radius: spectral radius of the recurrent weights. |gradient|: norm of the gradient over all "
    "weights. |step|: this norm after clipping. A readout that starts at 0 would block all gradients, so they are "
    "measured with a random readout before training."
)


def compare_gradients(
    recipes: Mapping[str, Recipe], out: Path, make_display: Callable[[int], ProgressDisplay], print_line: PrintLine
) -> Path:
    """Measure each recipe before training, after the first epoch and after the last, print a table, and write a chart.

    Args:
        recipes: The recipes to compare, by name.
        out: The directory of the chart.
        make_display: Creates a display for the given number of epochs.
        print_line: Prints one line or table.

    Returns:
        The file of the chart.

    Raises:
        DataError: The prices cannot be used.
    """
    flows = {}
    for name, recipe in recipes.items():
        print_line(f"{name}: {recipe.description}")
        flows[name] = probe_training(recipe, make_display(recipe.training.epochs), print_line)
    print_line(f"\n{gradient_table(flows, recipes).to_text()}\n{NOTE}\n")
    out.mkdir(parents=True, exist_ok=True)
    with np.errstate(invalid="ignore"):  # gradients may be infinite
        before_and_after = {
            name: [
                (flow.loss_gradients / (flow.loss_gradients[-1] or 1.0), flow.state_gradients)
                for flow in (measured[0], measured[-1])
            ]
            for name, measured in flows.items()
        }
    save_png(plot_gradients(before_and_after), out / "gradients.png")
    return out / "gradients.png"


def probe_training(recipe: Recipe, display: ProgressDisplay, print_line: PrintLine) -> list[GradientFlow]:
    """Train a recipe's network as `train` does, and measure its gradients.

    Returns:
        The gradients before training, after the first epoch and, if it is a later one, after the epoch whose weights
        were kept.
    """
    keras.utils.set_random_seed(recipe.seed)
    prepared = prepare_training(recipe, print_line)
    network = prepared.build_network(recipe)
    initial_weights = network.get_weights()
    randomize_zero_readout(network)
    probe = GradientProbe(network, recipe, prepared.train)
    flows = [probe.measure("before")]
    network.set_weights(initial_weights)
    probing_display = _FirstEpochProbe(display, probe, flows)
    if recipe.network.cell == "echo_state":
        curve = solve_echo_state(network, recipe, prepared.train, prepared.validation, probing_display)
    else:
        trained = architectures.training_graph(network, recipe.network)
        train = prepared.resampled or prepared.train
        curve = fit_network(trained, recipe.training, recipe.quantiles, train, prepared.validation, probing_display)
    if curve.best:
        flows.append(probe.measure(f"epoch {curve.best + 1}"))
    return flows


def gradient_table(flows: Mapping[str, Sequence[GradientFlow]], recipes: Mapping[str, Recipe]) -> Table:
    """Return one row for each recipe and each moment at which it was measured.

    Args:
        flows: The measurements of each recipe, by its name.
        recipes: The recipes, by name.
    """
    head = ["recipe", "training", "∂loss/∂x", "verdict", "∂h_T/∂h_1", "radius", "|gradient|", "|step|"]
    rows = []
    for name, measured in flows.items():
        has_descent = recipes[name].network.cell != "echo_state"  # echo state networks are solved in closed form
        for flow in measured:
            row = [name, flow.moment, f"{flow.ratio:.1e}", flow.verdict if has_descent else f"{flow.verdict}, unused"]
            row += [MISSING if flow.state_gradients is None else f"{first_to_last_ratio(flow.state_gradients):.1e}"]
            row += [format_number(flow.spectral_radius)]
            rows.append(
                row + ([f"{flow.gradient_norm:.3g}", f"{flow.step_norm:.3g}"] if has_descent else [MISSING, MISSING])
            )
    return Table("Gradients through time", NOTE, head, rows)


class _FirstEpochProbe:
    """A progress display that also measures the gradients after the first epoch."""

    def __init__(self, display: ProgressDisplay, probe: GradientProbe, flows: list[GradientFlow]) -> None:
        self._display = display
        self._probe = probe
        self._flows = flows

    def __enter__(self) -> Self:
        self._display.__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        self._display.__exit__(*exc)

    def on_batch_end(self, epoch: int, batches_done: int, batches: int) -> None:
        self._display.on_batch_end(epoch, batches_done, batches)

    def on_epoch_end(self, epoch: int, epochs: int, loss: float, validation_loss: float | None) -> None:
        self._display.on_epoch_end(epoch, epochs, loss, validation_loss)
        if epoch == 0:
            self._flows.append(self._probe.measure("epoch 1"))
