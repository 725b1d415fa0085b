"""The verb `compare --recipes`: recipes trained side by side on the same prices, taken up again where it stopped."""

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
from training.commands.backtest import Print
from training.fitting.progress import ProgressDisplay
from training.recipe import Recipe
from training.reports import charts, forecast_plots
from training.reports.tables import Table, number, percent, ratio, text

NOTE = (
    "seconds = of training; RMSE of the median in price, one step ahead, beside that of the last price; skill = 1 − "
    "MSE/MSE of the last price, in log returns, with its 95% interval by stationary bootstrap; pinball loss in percent "
    "of the price, and over that of a random walk with EWMA volatility; means over the seeds that came to a model."
)


class RecipeTrial(FrozenSchema):
    """What one recipe came to with one seed."""

    key: str
    recipe: str
    seed: int
    parameters: int
    seconds: float
    score: Score | None  # one step ahead; none where the network could not be published


class ProgressShare:
    """A part of a longer display: passes on epochs, counted on, and keeps the time."""

    def __init__(self, show: ProgressDisplay, before: int, epochs: int) -> None:
        self._show = show
        self._before = before
        self._epochs = epochs
        self.seconds = 0.0

    def __enter__(self) -> Self:
        self._began = time.monotonic()
        return self

    def __exit__(self, *exc: object) -> None:
        self.seconds = time.monotonic() - self._began

    def on_batch_end(self, epoch: int, batches_done: int, batches: int) -> None:
        self._show.on_batch_end(self._before + epoch, batches_done, batches)

    def on_epoch_end(self, epoch: int, epochs: int, loss: float, validation_loss: float | None) -> None:
        self._show.on_epoch_end(self._before + epoch, self._epochs, loss, validation_loss)


def compare_recipes(
    recipes: Mapping[str, Recipe], seeds: int, out: Path, display: Callable[[int], ProgressDisplay], say: Print
) -> Path:
    """Trains each recipe with each seed, or reads what an earlier call has finished; prints a table, and draws it.

    The models are published in `out`/models, where a service finds them.

    Args:
        seeds: how many, from each recipe's own on.
        display: makes what is told of so many epochs.

    Returns:
        The picture.

    Raises:
        DataError: the prices cannot be used.
    """
    wanted = {
        (name, seed): recipe.model_copy(update={"seed": seed})
        for name, recipe in recipes.items()
        for seed in range(recipe.seed, recipe.seed + seeds)
    }
    found = {place: read(out, *place, recipe) for place, recipe in wanted.items()}
    left = {place: recipe for place, recipe in wanted.items() if found[place] is None}
    if len(left) < len(wanted):
        say(f"{len(wanted) - len(left)} of {len(wanted)} were finished before")
    total = sum(recipe.training.epochs for recipe in left.values())
    with display(total) as show:
        before = 0
        for (name, seed), recipe in left.items():
            say(f"{name}, seed {seed}: {recipe.description}")
            found[name, seed] = train_trial(name, recipe, out, ProgressShare(show, before, total), say)
            before += recipe.training.epochs
    trials = [trial for trial in found.values() if trial is not None]
    say(f"\n{text(table(trials))}\n{NOTE}\n")
    forecast_plots.save(charts.recipes(scores_of(trials)), out / "recipes.png")
    return out / "recipes.png"


def read(out: Path, name: str, seed: int, recipe: Recipe) -> RecipeTrial | None:
    """The trial of exactly this recipe on exactly these prices, if it is finished."""
    try:
        trial = RecipeTrial.model_validate_json(_file(out, name, seed).read_bytes())
    except (OSError, ValueError):
        return None
    return trial if trial.key == key_of(recipe) else None


def train_trial(name: str, recipe: Recipe, out: Path, show: ProgressShare, say: Print) -> RecipeTrial:
    """Trains, publishes, and writes down what came of it, whole or not at all."""
    score, parameters = None, 0
    try:
        done = train.train_and_publish(recipe, name, out / "models", show, lambda _: None)
        parameters = done.parameters
        score = next(score for score in done.evidence.scores if score.horizon == 1)
    except train.NetworkError as error:
        say(f"{name}: not published: {error}")
    trial = RecipeTrial(
        key=key_of(recipe),
        recipe=name,
        seed=recipe.seed,
        parameters=parameters,
        seconds=show.seconds,
        score=score,
    )
    file = _file(out, name, recipe.seed)
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(".part")
    part.write_text(trial.model_dump_json(indent=1), encoding="utf-8")
    part.replace(file)
    return trial


def key_of(recipe: Recipe) -> str:
    """Of all that decides what comes of a recipe: itself, the files that it reads, and the libraries that train it."""
    decisive = {"recipe": provenance.recipe_record(recipe), "libraries": provenance.library_versions()}
    digest = sha256(json.dumps(decisive, sort_keys=True).encode())
    for path in (recipe.data.csv, recipe.data.test_csv):
        if path is not None and path.is_file():  # where it is not, reading it will say so
            digest.update(path.read_bytes())
    return digest.hexdigest()


def scores_of(trials: Sequence[RecipeTrial]) -> dict[str, dict[int, Score]]:
    """Of each recipe, by seed; a seed that came to no model has none."""
    found: dict[str, dict[int, Score]] = {trial.recipe: {} for trial in trials}
    for trial in trials:
        if trial.score is not None:
            found[trial.recipe][trial.seed] = trial.score
    return found


def table(trials: Sequence[RecipeTrial]) -> Table:
    """A row for each recipe."""
    head = ["recipe", "seeds", "parameters", "seconds", "RMSE", "last price", "skill", "pinball", "pinball/RW"]
    rows = []
    for name, scores in scores_of(trials).items():
        mine = [trial for trial in trials if trial.recipe == name]
        seeds, parameters = f"{len(scores)} of {len(mine)}", f"{max(trial.parameters for trial in mine):,}"
        row = [name, seeds, parameters, number(_mean([trial.seconds for trial in mine]), 1)]
        rows.append([*row, *(_figures([*scores.values()]) if scores else ["not published"])])
    return Table("Recipes side by side", NOTE, head, rows)


def _figures(scores: Sequence[Score]) -> list[str]:
    last = [row for score in scores for row in score.point_baselines if row.baseline == LAST_PRICE]
    skill = [1 - each.rmse_ratio**2 for each in last]
    ends = _mean([1 - each.high**2 for each in last]), _mean([1 - each.low**2 for each in last])
    said = f"{_mean(skill):+.3f}" + (f" ± {np.std(skill, ddof=1):.3f}" if len(skill) > 1 else "")
    walks = [row for score in scores for row in score.interval_baselines if row.baseline == EWMA]
    pinball = [score.pinball for score in scores if score.pinball is not None]
    beside = [_mean([getattr(walk, end) for walk in walks]) for end in ("pinball_ratio", "low", "high") if walks]
    return [
        number(_mean([score.rmse for score in scores]), 2),
        number(scores[0].rmse_last_price, 2),
        f"{said} [{ends[0]:+.3f}, {ends[1]:+.3f}]",
        percent(_mean(pinball) if pinball else None),
        ratio(*beside) if beside else "-",
    ]


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


def _file(out: Path, name: str, seed: int) -> Path:
    return out / "trials" / f"{name}-{seed}.json"
