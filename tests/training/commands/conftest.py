"""Helpers for the tests of the commands."""

from pathlib import Path
from typing import TYPE_CHECKING

from training.fitting.progress import ProgressLines
from training.recipe import Recipe

if TYPE_CHECKING:
    from training.commands.train import TrainingResult


def train_quick(recipe: Recipe, models: Path, name: str = "quick") -> tuple["TrainingResult", list[str]]:
    """Train a recipe and publish it.

    Returns:
        The published model, and the printed lines.
    """
    from training.commands.train import train_and_publish  # imports Keras

    printed: list[str] = []
    return train_and_publish(recipe, name, models, ProgressLines(), printed.append), printed
