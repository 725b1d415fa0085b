"""The command `compare --recipes`: train recipes on the same prices, and compare them.

The result of each training run is saved, so that an interrupted comparison can continue where it stopped.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Self

import numpy as np

from app.artifact.evidence import Score
from app.artifact.schema import FrozenSchema
from app.evaluation.baselines import EWMA, LAST_PRICE
from training import provenance
from training.commands import train
from training.commands.backtest import PrintLine
from training.fitting.progress import ProgressDisplay
from training.recipe import Recipe
from training.reports.comparison_charts import plot_recipes
from training.reports.plot_style import save_png
from training.reports.tables import MISSING, Table, format_number, format_percent, format_ratio

NOTE = (
    "All scores are one step ahead. seeds: number of seeds with a published model. seconds: training time. RMSE, last "
    "price: RMSE of the median and of repeating the last price, in price units. skill: 1 − MSE/MSE of repeating the "
    "last price, in log returns, with a 95% confidence interval from a stationary bootstrap. pinball: pinball loss in "
    "percent of the last price. pinball/RW: pinball loss divided by that of a random walk with EWMA volatility, with "
    "the same kind of interval. Scores are means over the seeds with a published model; ±: standard deviation over "
    "them."
)


class RecipeResult(FrozenSchema):
    """The saved result of training one recipe with one seed."""

    key: str  # digest from `result_key`
    recipe: str
    seed: int
    parameters: int
    seconds: float
    score: Score | None  # one step ahead; None if the network could not be published


class RunProgress:
    """Shows the epochs of one training run in a display of several runs, and measures the training time.

    Args:
        display: The display of all runs.
        first_epoch: Number of epochs in the runs before this one.
        total_epochs: Number of epochs in all runs.
    """

    def __init__(self, display: ProgressDisplay, first_epoch: int, total_epochs: int) -> None:
        self._display = display
        self._first_epoch = first_epoch
        self._total_epochs = total_epochs
        self.seconds = 0.0

    def __enter__(self) -> Self:
        self._started_s = time.monotonic()
        return self

    def __exit__(self, *exc: object) -> None:
        self.seconds = time.monotonic() - self._started_s

    def on_batch_end(self, epoch: int, batches_done: int, batches: int) -> None:
        """Show a finished batch."""
        self._display.on_batch_end(self._first_epoch + epoch, batches_done, batches)

    def on_epoch_end(self, epoch: int, epochs: int, loss: float, validation_loss: float | None) -> None:
        """Show a finished epoch."""
        self._display.on_epoch_end(self._first_epoch + epoch, self._total_epochs, loss, validation_loss)


def train_recipes(
    recipes: Mapping[str, Recipe],
    seeds: int,
    out: Path,
    make_display: Callable[[int], ProgressDisplay],
    print_line: PrintLine,
) -> Path:
    """Train each recipe with each seed, unless a result is saved, print a table, and write a chart.

    The models are published in `out`/models.

    Args:
        recipes: The recipes to compare, by name.
        seeds: Number of consecutive seeds, starting at each recipe's own.
        out: The directory of the models, the saved results and the chart.
        make_display: Creates a display for the given number of epochs.
        print_line: Prints one line or table.

    Returns:
        The file of the chart.

    Raises:
        DataError: The prices cannot be used.
    """
    runs = {
        (name, seed): recipe.model_copy(update={"seed": seed})
        for name, recipe in recipes.items()
        for seed in range(recipe.seed, recipe.seed + seeds)
    }
    results = {run: read_result(out, *run, recipe) for run, recipe in runs.items()}
    remaining = {run: recipe for run, recipe in runs.items() if results[run] is None}
    if len(remaining) < len(runs):
        print_line(f"{len(runs) - len(remaining)} of {len(runs)} training runs were finished earlier")
    total_epochs = sum(recipe.training.epochs for recipe in remaining.values())
    with make_display(total_epochs) as display:
        first_epoch = 0
        for (name, seed), recipe in remaining.items():
            print_line(f"{name}, seed {seed}: {recipe.description}")
            progress = RunProgress(display, first_epoch, total_epochs)
            results[name, seed] = train_recipe(name, recipe, out, progress, print_line)
            first_epoch += recipe.training.epochs
    finished = [result for result in results.values() if result is not None]
    print_line(f"\n{recipe_table(finished).to_text()}\n{NOTE}\n")
    save_png(plot_recipes(scores_by_recipe(finished)), out / "recipes.png")
    return out / "recipes.png"


def read_result(out: Path, name: str, seed: int, recipe: Recipe) -> RecipeResult | None:
    """Read the saved result of this recipe with this seed.

    Returns:
        None if there is no result, or if the recipe, the price files or the library versions have changed since.
    """
    try:
        result = RecipeResult.model_validate_json(_result_file(out, name, seed).read_bytes())
    except (OSError, ValueError):
        return None
    return result if result.key == result_key(recipe) else None


def train_recipe(name: str, recipe: Recipe, out: Path, progress: RunProgress, print_line: PrintLine) -> RecipeResult:
    """Train and publish a recipe, and save the result.

    If the network cannot be published, the result has no score.
    """
    score, parameters = None, 0
    try:
        published = train.train_and_publish(recipe, name, out / "models", progress, lambda _: None)
        parameters = published.parameters
        score = next(score for score in published.evidence.scores if score.horizon == 1)
    except train.NetworkError as error:
        print_line(f"{name}: not published: {error}")
    result = RecipeResult(
        key=result_key(recipe),
        recipe=name,
        seed=recipe.seed,
        parameters=parameters,
        seconds=progress.seconds,
        score=score,
    )
    file = _result_file(out, name, recipe.seed)
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".part")
    partial.write_text(result.model_dump_json(indent=1), encoding="utf-8")
    partial.replace(file)
    return result


def result_key(recipe: Recipe) -> str:
    """Return a digest of everything that determines a result: the recipe, its price files and the library versions."""
    inputs = {"recipe": provenance.recipe_record(recipe), "libraries": provenance.library_versions()}
    digest = sha256(json.dumps(inputs, sort_keys=True).encode())
    for path in (recipe.data.csv, recipe.data.test_csv):
        if path is not None and path.is_file():  # a missing file is reported by training
            digest.update(path.read_bytes())
    return digest.hexdigest()


def scores_by_recipe(results: Sequence[RecipeResult]) -> dict[str, dict[int, Score]]:
    """Return the scores of each recipe by seed, without the seeds whose network could not be published."""
    scores: dict[str, dict[int, Score]] = {result.recipe: {} for result in results}
    for result in results:
        if result.score is not None:
            scores[result.recipe][result.seed] = result.score
    return scores


def recipe_table(results: Sequence[RecipeResult]) -> Table:
    """Return one row for each recipe."""
    head = ["recipe", "seeds", "parameters", "seconds", "RMSE", "last price", "skill", "pinball", "pinball/RW"]
    rows = []
    for name, scores in scores_by_recipe(results).items():
        of_recipe = [result for result in results if result.recipe == name]
        row = [name, f"{len(scores)} of {len(of_recipe)}", f"{max(result.parameters for result in of_recipe):,}"]
        row += [format_number(_mean([result.seconds for result in of_recipe]), 1)]
        rows.append(row + (_score_cells([*scores.values()]) if scores else ["not published"]))
    return Table("Comparison of recipes", NOTE, head, rows)


def _score_cells(scores: Sequence[Score]) -> list[str]:
    to_last_price = [row for score in scores for row in score.point_baselines if row.baseline == LAST_PRICE]
    skills = [1 - row.rmse_ratio**2 for row in to_last_price]
    low, high = _mean([1 - row.high**2 for row in to_last_price]), _mean([1 - row.low**2 for row in to_last_price])
    skill = f"{_mean(skills):+.3f}" + (f" ± {np.std(skills, ddof=1):.3f}" if len(skills) > 1 else "")
    to_random_walk = [row for score in scores for row in score.interval_baselines if row.baseline == EWMA]
    pinball = [score.pinball for score in scores if score.pinball is not None]
    return [
        format_number(_mean([score.rmse for score in scores]), 2),
        format_number(scores[0].rmse_last_price, 2),
        f"{skill} [{low:+.3f}, {high:+.3f}]",
        format_percent(_mean(pinball) if pinball else None),
        format_ratio(
            _mean([row.pinball_ratio for row in to_random_walk]),
            _mean([row.low for row in to_random_walk]),
            _mean([row.high for row in to_random_walk]),
        )
        if to_random_walk
        else MISSING,
    ]


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


def _result_file(out: Path, name: str, seed: int) -> Path:
    return out / "trials" / f"{name}-{seed}.json"
