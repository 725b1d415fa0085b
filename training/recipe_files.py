"""Loads shipped recipes by name, and other recipes from TOML files."""

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError

from training.recipe import Recipe

RECIPES_DIR = Path(__file__).parent / "recipes"

COMPARISON_STOCK = "GOOG"  # the sample stock that recipes are compared on unless a CSV file is given
MAX_COMPARISON_HORIZON = 5  # steps ahead


class RecipeError(Exception):
    """A recipe that does not exist or is invalid. The message names the file and the key."""


def recipe_names() -> list[str]:
    """Return the names of the shipped recipes in alphabetical order."""
    return sorted(path.stem for path in RECIPES_DIR.glob("*.toml"))


def load_recipe(name_or_path: str, **overrides: Any) -> Recipe:
    """Load a shipped recipe by name, or any recipe by the path of its TOML file.

    Args:
        name_or_path: The name of a shipped recipe, or a path that ends with `.toml`.
        overrides: Values that replace top-level values of the file. A dictionary replaces only the keys it contains of
            a table.

    Raises:
        RecipeError: There is no such recipe, or it is invalid.
    """
    path = Path(name_or_path)
    if path.suffix != ".toml":
        path = RECIPES_DIR / f"{name_or_path}.toml"
        if name_or_path not in recipe_names():
            available = ", ".join(recipe_names())
            raise RecipeError(f"no recipe is called {name_or_path!r}; choose from {available}, or give a .toml file")
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"{path.name}: {error.strerror}") from error
    except ValueError as error:
        raise RecipeError(f"{path.name}: {' '.join(str(error).split())}") from error
    for key, value in overrides.items():
        table = content.get(key, {})
        if not isinstance(value, dict):
            content[key] = value
        elif isinstance(table, dict):  # anything else is left for validation to reject
            content[key] = table | value
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        raise RecipeError(f"{path.name}: {_first_problem(error)}") from error


def comparable_recipes(
    references: Sequence[str],
    epochs: int | None = None,
    csv: Path | None = None,
    column: str | None = None,
    test_csv: Path | None = None,
) -> dict[str, Recipe]:
    """Load recipes and make them comparable: same prices, same number of epochs, and a horizon of at most five.

    Args:
        references: Names or paths of recipes. `all` selects every shipped recipe.
        epochs: Number of epochs to train each recipe for, without early stopping. None keeps each recipe's epochs and
            patience. An echo state network is solved in closed form and always keeps its single epoch.
        csv: CSV file of prices. None selects a sample stock.
        column: Price column of the CSV files.
        test_csv: CSV file of the prices that follow those of `csv`. They form the test block.

    Returns:
        The recipes by name.

    Raises:
        RecipeError: A recipe does not exist or is invalid, or two recipes have the same name.
    """
    prices: dict[str, Any] = {"stocks": [COMPARISON_STOCK], "csv": None, "column": "adj_close"}
    if csv:
        prices = {"stocks": [], "csv": csv, "column": column}
    shared: dict[str, Any] = {"data": prices | {"test_csv": test_csv, "synthetic_paths": 0, "unseen": []}}
    recipes: dict[str, Recipe] = {}
    expanded = [name for reference in references for name in (recipe_names() if reference == "all" else [reference])]
    for reference in dict.fromkeys(expanded):
        original = load_recipe(reference)
        overrides = shared | {"horizon": min(original.horizon, MAX_COMPARISON_HORIZON)}
        if epochs is not None and original.network.cell != "echo_state":
            overrides["training"] = {"epochs": epochs, "patience": None}
        name = Path(reference).stem
        if name in recipes:
            raise RecipeError(f"two recipes are called {name}; rename one of the files")
        recipes[name] = load_recipe(reference, **overrides)
    return recipes


def _first_problem(error: ValidationError) -> str:
    """Return the key and the message of the first problem, on one line."""
    first = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        message = f"unknown key; allowed keys: {', '.join(_allowed_keys(first['loc'][:-1]))}"
    return f"{key}: {message}" if key else message


def _allowed_keys(location: tuple[int | str, ...]) -> list[str]:
    """Return the keys that are allowed in the table at this location. Those of the transform depend on its kind."""
    tables: list[Any] = [Recipe]
    for step in location:
        annotations = [field.annotation for table in tables if (field := table.model_fields.get(str(step)))]
        candidates = [each for annotation in annotations for each in (annotation, *get_args(annotation))]
        tables = [each for each in candidates if hasattr(each, "model_fields")] or tables
    same_kind = [table for table in tables if getattr(table.model_fields.get("kind"), "default", None) in location]
    return list((same_kind or tables)[0].model_fields)
