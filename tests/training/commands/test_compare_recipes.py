"""Recipes side by side: each trained once, whatever interrupts, and a table that tells how they did."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from app.artifact.evidence import Evidence, IntervalBaseline, PointBaseline, Score
from app.evaluation.baselines import EWMA, LAST_PRICE
from tests.training.conftest import RECIPES, make_score
from tests.training.fitting.test_training_loop import ProgressRecorder
from training import provenance, recipe
from training.commands import compare_recipes, train
from training.commands.compare_recipes import RecipeTrial
from training.commands.train import NetworkError
from training.fitting.progress import ProgressDisplay
from training.recipe import Recipe
from training.reports import charts

pytestmark = pytest.mark.slow

QUICK, QUICK_TUTORIAL = (str(RECIPES / f"{name}.toml") for name in ("quick", "quick-tutorial"))


def with_baselines(rmse_ratio: float = 0.9, levels: bool = True) -> dict[str, Any]:
    """Figures of a score beside the baselines that the table shows."""
    last = PointBaseline(baseline=LAST_PRICE, origins=9, rmse_ratio=rmse_ratio, low=0.8, high=1.1, p_value=None)
    figures: dict[str, Any] = {"rmse": 3.0, "point_baselines": [last]}
    if levels:
        walk = {"baseline": EWMA, "origins": 9, "p_value": None, "crps_ratio": 1.0, "winkler_ratio": {}}
        other = IntervalBaseline(pinball_ratio=7.0, low=6.0, high=8.0, **walk | {"baseline": "another"})
        ewma = IntervalBaseline(pinball_ratio=0.99, low=0.98, high=1.0, **walk)
        figures |= {"pinball": 0.0042, "interval_baselines": [other, ewma]}
    return figures


class Trainer:
    """In place of a run: remembers what it was asked to train, and does what each name stands for."""

    def __init__(self) -> None:
        self.trained: list[tuple[str, int]] = []
        self.interrupt_at: int | None = None
        self.clock_s = 0.0

    def run(self, wanted: Recipe, name: str, models: Path, show: ProgressDisplay, say: object) -> train.TrainingResult:
        if len(self.trained) == self.interrupt_at:
            raise KeyboardInterrupt
        self.trained.append((name, wanted.seed))
        self.clock_s += 100  # to read and encode prices
        with show:
            for epoch in range(wanted.training.epochs):
                self.clock_s += 2
                show.batch(epoch, 1, 2)
                show.epoch(epoch, wanted.training.epochs, 1.0, None)
        self.clock_s += 1000  # to judge and publish
        if name == "quick-tutorial" and wanted.training.epochs == 5 and wanted.seed != 2:
            raise NetworkError("training has diverged")
        figures = with_baselines(0.9 + wanted.seed / 100, levels=bool(wanted.levels))
        scores = [make_score(horizon=2), make_score(**figures)]
        return train.TrainingResult(models / name / "1", Evidence(point_skill="none", summary="", scores=scores), 1234)


@pytest.fixture
def trainer(monkeypatch: pytest.MonkeyPatch) -> Trainer:
    made = Trainer()
    monkeypatch.setattr(train, "train_and_publish", made.run)
    monkeypatch.setattr(compare_recipes, "time", SimpleNamespace(monotonic=lambda: made.clock_s))
    return made


def compared(
    out: Path, *references: str, epochs: int = 3, seeds: int = 1, **prices: Any
) -> tuple[list[str], ProgressRecorder]:
    said: list[str] = []
    shown = ProgressRecorder()
    wanted = recipe.alike(references or (QUICK, QUICK_TUTORIAL), epochs, **prices)
    picture = compare_recipes.compare_recipes(wanted, seeds, out, lambda _: shown, said.append)
    assert picture.read_bytes().startswith(b"\x89PNG")
    return said, shown


def rows(said: list[str]) -> dict[str, list[str]]:
    return {line.split()[0]: line.split() for line in said[-1].splitlines() if line.strip().startswith("quick")}


def test_each_recipe_is_trained_once_and_has_a_row(trainer: Trainer, tmp_path: Path) -> None:
    said, shown = compared(tmp_path)
    assert trainer.trained == [("quick", 1), ("quick-tutorial", 1)]
    found = rows(said)
    assert found["quick"][1:] == [
        *(
            "1",
            "of",
            "1",
            "1,234",
            "6.0",
            "3.00",
            "2.00",
            "+0.172",
            "[-0.210,",
            "+0.360]",
            "0.420",
            "0.9900",
            "[0.9800,",
            "1.0000]",
        )
    ]
    assert found["quick-tutorial"][-2:] == ["-", "-"]
    assert [told[0] for told in shown.epochs] == [0, 1, 2, 3, 4, 5]
    assert {told[1] for told in shown.epochs} == {6}
    assert [told[0] for told in shown.batches] == [0, 1, 2, 3, 4, 5]


def test_what_is_finished_is_not_trained_again(trainer: Trainer, tmp_path: Path) -> None:
    first, _ = compared(tmp_path)
    said, shown = compared(tmp_path)
    assert len(trainer.trained) == 2
    assert said[0] == "2 of 2 were finished before"
    assert shown.epochs == []
    assert rows(said) == rows(first)


def test_after_an_interruption_it_goes_on_where_it_was(trainer: Trainer, tmp_path: Path) -> None:
    trainer.interrupt_at = 3
    with pytest.raises(KeyboardInterrupt):
        compared(tmp_path, seeds=2)
    assert trainer.trained == [("quick", 1), ("quick", 2), ("quick-tutorial", 1)]
    trainer.interrupt_at = None
    said, _ = compared(tmp_path, seeds=2)
    assert trainer.trained[3:] == [("quick-tutorial", 2)]
    assert said[0] == "3 of 4 were finished before"


def test_another_recipe_other_prices_and_a_broken_file_are_trained_again(trainer: Trainer, tmp_path: Path) -> None:
    csv = tmp_path / "prices.csv"
    csv.write_text("Close\n1\n")
    prices: dict[str, Any] = {"csv": csv, "column": "Close"}
    for epochs in (3, 3, 4):
        compared(tmp_path, QUICK, epochs=epochs, **prices)
    assert len(trainer.trained) == 2
    csv.write_text("Close\n2\n")
    compared(tmp_path, QUICK, epochs=4, **prices)
    assert len(trainer.trained) == 3
    (tmp_path / "trials" / "quick-1.json").write_text("{")
    compared(tmp_path, QUICK, epochs=4, **prices)
    assert len(trainer.trained) == 4
    assert [path.name for path in (tmp_path / "trials").iterdir()] == ["quick-1.json"]


def test_a_file_that_is_not_there_is_the_business_of_who_reads_it() -> None:
    wanted = recipe.alike([QUICK], 1, Path("gone.csv"), "Close")["quick"]
    assert compare_recipes.key_of(wanted) == compare_recipes.key_of(wanted)


def test_one_that_diverges_is_told_and_the_others_go_on(trainer: Trainer, tmp_path: Path) -> None:
    said, _ = compared(tmp_path, QUICK_TUTORIAL, QUICK, epochs=5)
    assert "quick-tutorial: not published: training has diverged" in said
    assert rows(said)["quick-tutorial"][1:4] == ["0", "of", "1"]
    assert rows(said)["quick-tutorial"][-2:] == ["not", "published"]
    assert rows(said)["quick"][-1] == "1.0000]"
    said, _ = compared(tmp_path / "alone", QUICK_TUTORIAL, epochs=5)
    assert len(trainer.trained) == 3


def test_several_seeds_are_averaged_with_their_spread(trainer: Trainer, tmp_path: Path) -> None:
    said, _ = compared(tmp_path, QUICK, seeds=3)
    skills = [1 - ratio**2 for ratio in (0.91, 0.92, 0.93)]
    row = rows(said)["quick"]
    assert row[1:4] == ["3", "of", "3"]
    assert row[8:11] == [f"{np.mean(skills):+.3f}", "±", f"{np.std(skills, ddof=1):.3f}"]


def test_seeds_that_came_to_nothing_are_counted(
    trainer: Trainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[dict[str, dict[int, Score]]] = []
    draw = charts.recipes

    def spy(scores: dict[str, dict[int, Score]]) -> Figure:
        drawn.append(scores)
        return draw(scores)

    monkeypatch.setattr(charts, "recipes", spy)
    said, _ = compared(tmp_path, QUICK_TUTORIAL, epochs=5, seeds=3)
    row = rows(said)["quick-tutorial"]
    assert row[1:4] == ["1", "of", "3"]
    assert row[8] == f"{1 - 0.92**2:+.3f}"  # of seed 2
    assert [list(each) for each in drawn[0].values()] == [[2]]


def test_seconds_are_those_of_training(trainer: Trainer, tmp_path: Path) -> None:
    compared(tmp_path, QUICK, epochs=4)
    trial = RecipeTrial.model_validate_json((tmp_path / "trials" / "quick-1.json").read_bytes())
    assert trial.seconds == 4 * 2
    twice = [trial, trial.model_copy(update={"seconds": 4.0, "seed": 2})]
    (row,) = compare_recipes.table(twice).rows
    assert row[3] == "6.0"


@pytest.mark.parametrize("library", ["pricecast", "keras", "backend"])
def test_what_other_libraries_trained_is_trained_again(
    library: str, trainer: Trainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared(tmp_path, QUICK)
    others = provenance.libraries() | {library: "another"}
    monkeypatch.setattr(provenance, "libraries", lambda: others)
    compared(tmp_path, QUICK)
    assert len(trainer.trained) == 2
