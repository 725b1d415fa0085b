"""Tests of the command `compare --recipes`."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from app.artifact.evidence import Evidence, IntervalBaseline, PointBaseline, Score
from app.evaluation.baselines import EWMA, LAST_PRICE
from tests.training.conftest import RECIPES, make_score
from tests.training.fitting.progress_recorder import ProgressRecorder
from training import provenance
from training.commands import compare_recipes, train
from training.commands.compare_recipes import RecipeResult, recipe_table, result_key, train_recipes
from training.commands.train import NetworkError
from training.fitting.progress import ProgressDisplay
from training.recipe import Recipe
from training.recipe_files import comparable_recipes
from training.reports.comparison_charts import plot_recipes

pytestmark = pytest.mark.slow

QUICK, QUICK_TUTORIAL = (str(RECIPES / f"{name}.toml") for name in ("quick", "quick-tutorial"))


def baseline_figures(rmse_ratio: float = 0.9, levels: bool = True) -> dict[str, Any]:
    """Return the figures of a score that the table shows."""
    last = PointBaseline(baseline=LAST_PRICE, origins=9, rmse_ratio=rmse_ratio, low=0.8, high=1.1, p_value=None)
    figures: dict[str, Any] = {"rmse": 3.0, "point_baselines": [last]}
    if levels:
        walk = {"baseline": EWMA, "origins": 9, "p_value": None, "crps_ratio": 1.0, "winkler_ratio": {}}
        other = IntervalBaseline(pinball_ratio=7.0, low=6.0, high=8.0, **walk | {"baseline": "another"})
        ewma = IntervalBaseline(pinball_ratio=0.99, low=0.98, high=1.0, **walk)
        figures |= {"pinball": 0.0042, "interval_baselines": [other, ewma]}
    return figures


class FakeTrainer:
    """A replacement for `train_and_publish` that records its calls.

    `quick-tutorial` diverges with 5 epochs and any seed but 2.
    """

    def __init__(self) -> None:
        self.trained: list[tuple[str, int]] = []
        self.interrupt_at: int | None = None
        self.clock_s = 0.0

    def run(
        self, recipe: Recipe, name: str, models: Path, display: ProgressDisplay, print_line: object
    ) -> train.TrainingResult:
        if len(self.trained) == self.interrupt_at:
            raise KeyboardInterrupt
        self.trained.append((name, recipe.seed))
        self.clock_s += 100  # reading and encoding prices
        with display:
            for epoch in range(recipe.training.epochs):
                self.clock_s += 2
                display.on_batch_end(epoch, 1, 2)
                display.on_epoch_end(epoch, recipe.training.epochs, 1.0, None)
        self.clock_s += 1000  # evaluation and publishing
        if name == "quick-tutorial" and recipe.training.epochs == 5 and recipe.seed != 2:
            raise NetworkError("training has diverged")
        figures = baseline_figures(0.9 + recipe.seed / 100, levels=bool(recipe.levels))
        scores = [make_score(horizon=2), make_score(**figures)]
        return train.TrainingResult(models / name / "1", Evidence(point_skill="none", summary="", scores=scores), 1234)


@pytest.fixture
def trainer(monkeypatch: pytest.MonkeyPatch) -> FakeTrainer:
    fake = FakeTrainer()
    monkeypatch.setattr(train, "train_and_publish", fake.run)
    monkeypatch.setattr(compare_recipes, "time", SimpleNamespace(monotonic=lambda: fake.clock_s))
    return fake


def compare(
    out: Path, *references: str, epochs: int = 3, seeds: int = 1, **prices: Any
) -> tuple[list[str], ProgressRecorder]:
    printed: list[str] = []
    display = ProgressRecorder()
    used = comparable_recipes(references or (QUICK, QUICK_TUTORIAL), epochs, **prices)
    picture = train_recipes(used, seeds, out, lambda _: display, printed.append)
    assert picture.read_bytes().startswith(b"\x89PNG")
    return printed, display


def printed_rows(printed: list[str]) -> dict[str, list[str]]:
    return {line.split()[0]: line.split() for line in printed[-1].splitlines() if line.strip().startswith("quick")}


def test_train_recipes_trains_each_once_and_prints_a_row(trainer: FakeTrainer, tmp_path: Path) -> None:
    printed, display = compare(tmp_path)
    assert trainer.trained == [("quick", 1), ("quick-tutorial", 1)]
    found = printed_rows(printed)
    assert found["quick"][1:] == [
        *("1", "of", "1", "1,234", "6.0", "3.00", "2.00", "+0.172", "[-0.210,", "+0.360]"),
        *("0.420", "0.9900", "[0.9800,", "1.0000]"),
    ]
    assert found["quick-tutorial"][-2:] == ["-", "-"]
    assert [event[0] for event in display.epochs] == [0, 1, 2, 3, 4, 5]
    assert {event[1] for event in display.epochs} == {6}
    assert [event[0] for event in display.batches] == [0, 1, 2, 3, 4, 5]


def test_train_recipes_skips_finished_runs(trainer: FakeTrainer, tmp_path: Path) -> None:
    first, _ = compare(tmp_path)
    printed, display = compare(tmp_path)
    assert len(trainer.trained) == 2
    assert printed[0] == "2 of 2 training runs were finished earlier"
    assert display.epochs == []
    assert printed_rows(printed) == printed_rows(first)


def test_train_recipes_continues_after_interruption(trainer: FakeTrainer, tmp_path: Path) -> None:
    trainer.interrupt_at = 3
    with pytest.raises(KeyboardInterrupt):
        compare(tmp_path, seeds=2)
    assert trainer.trained == [("quick", 1), ("quick", 2), ("quick-tutorial", 1)]
    trainer.interrupt_at = None
    printed, _ = compare(tmp_path, seeds=2)
    assert trainer.trained[3:] == [("quick-tutorial", 2)]
    assert printed[0] == "3 of 4 training runs were finished earlier"


def test_train_recipes_retrains_if_inputs_changed(trainer: FakeTrainer, tmp_path: Path) -> None:
    csv = tmp_path / "prices.csv"
    csv.write_text("Close\n1\n")
    prices: dict[str, Any] = {"csv": csv, "column": "Close"}
    for epochs in (3, 3, 4):
        compare(tmp_path, QUICK, epochs=epochs, **prices)
    assert len(trainer.trained) == 2
    csv.write_text("Close\n2\n")
    compare(tmp_path, QUICK, epochs=4, **prices)
    assert len(trainer.trained) == 3
    (tmp_path / "trials" / "quick-1.json").write_text("{")
    compare(tmp_path, QUICK, epochs=4, **prices)
    assert len(trainer.trained) == 4
    assert [path.name for path in (tmp_path / "trials").iterdir()] == ["quick-1.json"]


def test_result_key_ignores_missing_file() -> None:
    used = comparable_recipes([QUICK], 1, Path("gone.csv"), "Close")["quick"]
    assert result_key(used) == result_key(used)


def test_train_recipes_reports_divergence_and_continues(trainer: FakeTrainer, tmp_path: Path) -> None:
    printed, _ = compare(tmp_path, QUICK_TUTORIAL, QUICK, epochs=5)
    assert "quick-tutorial: not published: training has diverged" in printed
    assert printed_rows(printed)["quick-tutorial"][1:4] == ["0", "of", "1"]
    assert printed_rows(printed)["quick-tutorial"][-2:] == ["not", "published"]
    assert printed_rows(printed)["quick"][-1] == "1.0000]"
    printed, _ = compare(tmp_path / "alone", QUICK_TUTORIAL, epochs=5)
    assert len(trainer.trained) == 3


def test_train_recipes_averages_seeds(trainer: FakeTrainer, tmp_path: Path) -> None:
    printed, _ = compare(tmp_path, QUICK, seeds=3)
    skills = [1 - ratio**2 for ratio in (0.91, 0.92, 0.93)]
    row = printed_rows(printed)["quick"]
    assert row[1:4] == ["3", "of", "3"]
    assert row[8:11] == [f"{np.mean(skills):+.3f}", "±", f"{np.std(skills, ddof=1):.3f}"]


def test_train_recipes_counts_seeds_without_model(
    trainer: FakeTrainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plotted: list[dict[str, dict[int, Score]]] = []

    def spy(scores: dict[str, dict[int, Score]]) -> Figure:
        plotted.append(scores)
        return plot_recipes(scores)

    monkeypatch.setattr(compare_recipes, "plot_recipes", spy)
    printed, _ = compare(tmp_path, QUICK_TUTORIAL, epochs=5, seeds=3)
    row = printed_rows(printed)["quick-tutorial"]
    assert row[1:4] == ["1", "of", "3"]
    assert row[8] == f"{1 - 0.92**2:+.3f}"  # only seed 2 gave a model
    assert [list(each) for each in plotted[0].values()] == [[2]]


def test_train_recipes_measures_training_time_only(trainer: FakeTrainer, tmp_path: Path) -> None:
    compare(tmp_path, QUICK, epochs=4)
    result = RecipeResult.model_validate_json((tmp_path / "trials" / "quick-1.json").read_bytes())
    assert result.seconds == 4 * 2
    two_seeds = [result, result.model_copy(update={"seconds": 4.0, "seed": 2})]
    (row,) = recipe_table(two_seeds).rows
    assert row[3] == "6.0"


@pytest.mark.parametrize("library", ["pricecast", "keras", "backend"])
def test_train_recipes_retrains_if_library_changed(
    library: str, trainer: FakeTrainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compare(tmp_path, QUICK)
    changed = provenance.library_versions() | {library: "another"}
    monkeypatch.setattr(provenance, "library_versions", lambda: changed)
    compare(tmp_path, QUICK)
    assert len(trainer.trained) == 2
