"""Loading recipes: the shipped ones by name, others from a TOML file."""

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError

from training.recipe import Recipe

RECIPES_DIR = Path(__file__).parent / "recipes"

COMPARISON_STOCK = "GOOG"  # the sample stock that recipes are compared on unless a CSV file is given
MAX_COMPARISON_HORIZON = 5


class RecipeError(Exception):
    """A recipe that does not exist or is invalid. The message names the file and the key."""


def recipe_names() -> list[str]:
    """The names of the shipped recipes."""
    return sorted(path.stem for path in RECIPES_DIR.glob("*.toml"))


def load_recipe(name_or_path: str, **overrides: Any) -> Recipe:
    """Load a shipped recipe by name, or any recipe by the path of its TOML file.

    Args:
        name_or_path: The name of a shipped recipe, or a path that ends with `.toml`.
        overrides: Top-level values that replace those of the file. A dictionary replaces single keys of a table.

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
    """Load recipes and make them comparable: same prices, same number of epochs, at most five steps ahead.

    Args:
        references: Names or paths of recipes. `all` stands for all shipped recipes.
        epochs: Epochs to train each recipe for, without early stopping. None keeps the epochs and patience of each
            recipe. An echo state network, which is solved in closed form, always keeps its single epoch.
        csv: CSV file of prices. None selects a sample stock.
        column: Price column of the CSV files.
        test_csv: CSV file of the prices that follow `csv`, to test on.

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
    """The place and the message of the first problem, on one line."""
    first = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        message = f"unknown key; allowed keys: {', '.join(_allowed_keys(first['loc'][:-1]))}"
    return f"{place}: {message}" if place else message


def _allowed_keys(place: tuple[int | str, ...]) -> list[str]:
    """The keys allowed in the table at this place. Those of the transform depend on its kind."""
    tables: list[Any] = [Recipe]
    for step in place:
        annotations = [field.annotation for table in tables if (field := table.model_fields.get(str(step)))]
        candidates = [each for annotation in annotations for each in (annotation, *get_args(annotation))]
        tables = [each for each in candidates if hasattr(each, "model_fields")] or tables
    of_kind = [table for table in tables if getattr(table.model_fields.get("kind"), "default", None) in place]
    return list((of_kind or tables)[0].model_fields)
