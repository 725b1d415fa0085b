"""Writes recipe files for tests."""

from pathlib import Path
from typing import Any

import pytest

from training.recipe_files import RecipeError, load_recipe

COMPLETE = """\
description = "my recipe"
window = 30
horizon = 3
levels = [50, 80]

[data]
stocks = ["AAPL"]
column = "open"

[split]
validation = 0.1
calibration = 0.1
test = 0.2

[transform]
kind = "log_return"

[network]
units = [8]
dropout = 0.1

[training]
loss = "pinball"
epochs = 3
patience = 2

[calibration]
center = "auto"
"""


def write_recipe(folder: Path, *changes: tuple[str, str], text: str = COMPLETE) -> str:
    """Write a recipe file with each (old, new) text replaced, and return its path."""
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path = folder / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def rejection(name_or_path: str, **overrides: Any) -> str:
    """Return the error message, which must be a single line without traces of pydantic."""
    with pytest.raises(RecipeError) as caught:
        load_recipe(name_or_path, **overrides)
    message = str(caught.value)
    assert "\n" not in message
    assert "pydantic" not in message
    return message
