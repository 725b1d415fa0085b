"""Loading recipes by name or from a file, overriding their values, and making them comparable."""

from pathlib import Path

import pytest

from tests.training.recipe_writer import COMPLETE, rejection, write_recipe
from training.recipe_files import RecipeError, comparable_recipes, load_recipe, recipe_names

# Shipped recipes


@pytest.mark.parametrize("name", recipe_names())
def test_shipped_recipe_loads(name: str) -> None:
    assert load_recipe(name).description


def test_recipe_names_include_default_and_tutorial() -> None:
    assert {"default", "tutorial"} <= set(recipe_names())


# Rejected recipes


def test_load_recipe_unknown_name_lists_the_recipes() -> None:
    listed = ", ".join(recipe_names())
    assert rejection("tutorail") == f"no recipe is called 'tutorail'; choose from {listed}, or give a .toml file"


def test_load_recipe_path_without_suffix_is_not_a_name() -> None:
    assert "no recipe is called" in rejection("../recipes/default")


def test_load_recipe_missing_file_is_named(tmp_path: Path) -> None:
    assert rejection(str(tmp_path / "gone.toml")).startswith("gone.toml: ")


def test_load_recipe_directory_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "folder.toml").mkdir()
    assert rejection(str(tmp_path / "folder.toml")).startswith("folder.toml: ")


@pytest.mark.parametrize("content", [b"window = ", b"= 3", b"window = 3\nwindow = 4\n", b"\xff\xfe\x00", b"[data\n"])
def test_load_recipe_malformed_toml_is_rejected(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.toml"
    path.write_bytes(content)
    assert rejection(str(path)).startswith("broken.toml: ")


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("window = 30", "window = 30\nwindwo = 31", "windwo"),
        ("[data]", "[data]\nstock = 1", "data.stock"),
        ("[split]", "[split]\ntrain = 0.6", "split.train"),
        ("[network]", "[network]\nlayers = 2", "network.layers"),
        ("[training]", "[training]\nepoch = 1", "training.epoch"),
        ("[calibration]", "[calibration]\nmethod = 1", "calibration.method"),
        ("[calibration]", "[callback]\n[calibration]", "callback"),
    ],
)
def test_load_recipe_unknown_key_is_named(tmp_path: Path, old: str, new: str, key: str) -> None:
    assert rejection(write_recipe(tmp_path, (old, new))).startswith(f"mine.toml: {key}: ")


@pytest.mark.parametrize(
    ("old", "new", "allowed"),
    [
        ("[data]", "[unknown]\n[data]", "description, seed, window, "),
        ("[network]", "[network]\npenalty.unknown = 1", "kernel_l1, kernel_l2, "),
        ("[network]", "[network]\nreservoir.unknown = 1", "spectral_radius, leak, "),
        ('kind = "log_return"', 'kind = "log_return"\nunknown = 1', "kind, decay, winsor, "),
        ('kind = "log_return"', 'kind = "minmax_price"\nunknown = 1', "kind"),
    ],
)
def test_load_recipe_unknown_key_lists_the_allowed_keys(tmp_path: Path, old: str, new: str, allowed: str) -> None:
    message = rejection(write_recipe(tmp_path, (old, new)))
    assert f"unknown: unknown key; allowed keys: {allowed}" in message
    assert not message.endswith(", ")


def test_load_recipe_unknown_transform_key_is_named(tmp_path: Path) -> None:
    message = rejection(write_recipe(tmp_path, ('kind = "log_return"', 'kind = "log_return"\ndecya = 0.9')))
    assert message.startswith("mine.toml: transform")
    assert "decya" in message


@pytest.mark.parametrize("table", ["data", "transform", "network", "training"])
def test_load_recipe_missing_table_is_named(tmp_path: Path, table: str) -> None:
    start = COMPLETE.index(f"[{table}]")
    without = COMPLETE[:start] + COMPLETE[COMPLETE.index("\n[", start) + 1 :]
    assert rejection(write_recipe(tmp_path, text=without)).startswith(f"mine.toml: {table}: ")


# Overrides


def test_load_recipe_overrides_keep_other_keys_of_a_table(tmp_path: Path) -> None:
    path = write_recipe(tmp_path)
    plain = load_recipe(path)
    changed = load_recipe(path, seed=7, levels=[90], data={"column": "close"}, training={"epochs": 1})
    assert (changed.seed, changed.levels) == (7, [90])
    assert changed.data == plain.data.model_copy(update={"column": "close"})
    assert changed.training == plain.training.model_copy(update={"epochs": 1})
    assert (changed.split, changed.network, changed.window) == (plain.split, plain.network, plain.window)


def test_load_recipe_overrides_may_add_a_table(tmp_path: Path) -> None:
    path = write_recipe(tmp_path, ('[calibration]\ncenter = "auto"\n', ""))
    assert load_recipe(path).calibration.center == "network"
    assert load_recipe(path, calibration={"center": "last_price"}).calibration.center == "last_price"


def test_load_recipe_empty_overrides_change_nothing(tmp_path: Path) -> None:
    path = write_recipe(tmp_path)
    assert load_recipe(path, data={}) == load_recipe(path)


def test_load_recipe_overrides_are_validated(tmp_path: Path) -> None:
    path = write_recipe(tmp_path)
    assert rejection(path, window=3).startswith("mine.toml: window: ")
    assert rejection(path, data={"csv": Path("prices.csv")}).startswith("mine.toml: data: ")
    assert rejection(path, sead=3).startswith("mine.toml: sead: ")


def test_load_recipe_overrides_replace_stocks_by_a_csv(tmp_path: Path) -> None:
    path = write_recipe(tmp_path)
    data = load_recipe(path, data={"stocks": [], "csv": Path("prices.csv"), "test_csv": None}).data
    assert (data.stocks, data.csv, data.test_csv) == ([], Path("prices.csv"), None)


@pytest.mark.parametrize("value", ["3", '"AAPL"', "[]", "[1, 2]"])
def test_load_recipe_value_instead_of_a_table_is_rejected(tmp_path: Path, value: str) -> None:
    text = f'description = "my recipe"\ndata = {value}\n'
    path = write_recipe(tmp_path, text=text)
    assert rejection(path).startswith("mine.toml: data: ")
    assert rejection(path, data={}).startswith("mine.toml: data: ")
    assert rejection(path, data={"column": "open"}).startswith("mine.toml: data: ")


# Comparable recipes


def test_comparable_recipes_share_prices_and_epochs(tmp_path: Path) -> None:
    mine = write_recipe(tmp_path)
    recipes = comparable_recipes([mine, "default", "tutorial", "echo-state", mine], 7)
    assert list(recipes) == ["mine", "default", "tutorial", "echo-state"]
    for each in recipes.values():
        assert (each.data.stocks, each.data.csv, each.data.synthetic_paths, each.data.unseen) == (["GOOG"], None, 0, [])
        assert each.data.column == "adj_close"
    assert [each.training.epochs for each in recipes.values()] == [7, 7, 7, 1]
    assert [each.training.patience for each in recipes.values()] == [None] * 4
    assert [each.horizon for each in recipes.values()] == [3, 5, 1, 5]


def test_comparable_recipes_all_keeps_their_epochs() -> None:
    recipes = comparable_recipes(["all"])
    assert list(recipes) == recipe_names()
    assert recipes["tutorial"].training.epochs == 100


def test_comparable_recipes_all_combines_with_others(tmp_path: Path) -> None:
    mine = write_recipe(tmp_path)
    assert list(comparable_recipes([mine, "all", "lstm"])) == ["mine", *recipe_names()]
    with pytest.raises(RecipeError, match=r"^no recipe is called 'tutorail'"):
        comparable_recipes(["all", "tutorail"])


def test_comparable_recipes_same_epochs_keep_patience(tmp_path: Path) -> None:
    training = comparable_recipes([write_recipe(tmp_path)])["mine"].training
    assert (training.epochs, training.patience) == (3, 2)


def test_comparable_recipes_csv_replaces_the_stock() -> None:
    data = comparable_recipes(["lstm"], None, Path("prices.csv"), "Open", Path("later.csv"))["lstm"].data
    assert (data.stocks, data.csv, data.column, data.test_csv) == (
        [],
        Path("prices.csv"),
        "Open",
        Path("later.csv"),
    )


def test_comparable_recipes_same_name_twice_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(RecipeError, match=r"^two recipes are called mine; rename one of the files$"):
        comparable_recipes([write_recipe(tmp_path), write_recipe(tmp_path / "a")])
