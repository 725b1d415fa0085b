"""Recipes: those that are shipped, and what is said about those that cannot be followed."""

from pathlib import Path
from typing import Any

import pytest

from app.artifact.manifest import LogReturnParameters, MinMaxPriceParameters
from training import recipe
from training.data import STOCK_NAMES, UNSEEN
from training.recipe import Network, Recipe, RecipeError, Reservoir, Split, load

WHOLE = """\
description = "mine"
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


REMEDIES = {
    *("recurrent_dropout", "activation", "kernel", "recurrent", "recurrent_scale", "forget_bias", "truncate"),
    *("penalty", "reservoir"),
}


def written(folder: Path, *changes: tuple[str, str], text: str = WHOLE) -> str:
    """A recipe file in which the first text of each change stands replaced by the second."""
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path = folder / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def refusal(name_or_path: str, **changes: Any) -> str:
    with pytest.raises(RecipeError) as caught:
        load(name_or_path, **changes)
    message = str(caught.value)
    assert "\n" not in message
    assert "pydantic" not in message
    return message


# What is shipped


@pytest.mark.parametrize("name", recipe.names())
def test_every_shipped_recipe_loads(name: str) -> None:
    assert load(name).description


def test_the_default_and_the_tutorial_are_shipped() -> None:
    assert {"default", "tutorial"} <= set(recipe.names())


def test_the_tutorial_has_the_numbers_of_the_tutorial() -> None:
    tutorial = load("tutorial")
    assert (tutorial.window, tutorial.horizon, tutorial.levels, tutorial.quantiles) == (60, 1, [], [0.5])
    assert tutorial.transform == MinMaxPriceParameters()
    assert tutorial.data.model_dump(exclude={"synthetic_length", "synthetic_stride"}) == {
        "stocks": ["GOOG"],
        "csv": None,
        "test_csv": None,
        "column": "open",
        "synthetic_paths": 0,
        "unseen": [],
    }
    assert tutorial.network.model_dump(exclude=REMEDIES) == {
        "structure": "many_to_one",
        "cell": "lstm",
        "units": [50, 50, 50, 50],
        "dropout": 0.2,
        "head": 0,
    }
    plain = Network(units=[1])
    assert tutorial.network.model_dump(include=REMEDIES) == plain.model_dump(include=REMEDIES)
    assert tutorial.training.model_dump() == {
        "loss": "mse",
        "optimizer": "adam",
        "learning_rate": 0.001,  # adam's own
        "schedule": "constant",
        "batch": 32,
        "epochs": 100,
        "clip_norm": None,
        "clip_weight_norm": None,
        "clip_value": None,
        "patience": None,
    }
    assert (tutorial.split.validation, tutorial.split.calibration) == (0, 0)
    assert tutorial.calibration.center == "network"


def test_the_default_works_at_any_scale_and_knows_intervals() -> None:
    default = load("default")
    assert isinstance(default.transform, LogReturnParameters)
    assert {80, 95} <= set(default.levels)
    assert default.training.loss == "pinball"
    assert default.auto
    assert default.split.validation
    assert default.split.calibration


def test_the_default_is_judged_on_series_that_it_never_learns_from() -> None:
    wanted = load("default").data
    assert wanted.unseen == list(UNSEEN)
    assert set(wanted.stocks) <= set(STOCK_NAMES)
    assert wanted.csv is None


# What a file says


def test_a_file_is_read_with_defaults_for_what_it_leaves_out(tmp_path: Path) -> None:
    mine = load(written(tmp_path))
    assert (mine.description, mine.window, mine.horizon, mine.levels) == ("mine", 30, 3, [50, 80])
    assert mine.seed == 1
    assert mine.training.learning_rate == 0.001
    assert mine.split.train == pytest.approx(0.6)


def test_quantiles_are_both_ends_of_every_level_and_the_median(tmp_path: Path) -> None:
    mine = load(written(tmp_path, ("[50, 80]", "[50, 80, 95]")))
    assert mine.quantiles == pytest.approx([0.025, 0.1, 0.25, 0.5, 0.75, 0.9, 0.975])
    assert 0.5 in mine.quantiles


def test_a_recipe_cannot_be_changed(tmp_path: Path) -> None:
    mine = load(written(tmp_path))
    with pytest.raises(ValueError, match="frozen"):
        mine.window = 40  # type: ignore[misc]  # which is what must fail


# What is refused


def test_an_unknown_name_lists_the_recipes_there_are() -> None:
    listed = ", ".join(recipe.names())
    assert refusal("tutorail") == f"no recipe is called 'tutorail'; there is {listed}, or a .toml file"


def test_a_path_inside_the_recipes_folder_is_not_a_name() -> None:
    assert "no recipe is called" in refusal("../recipes/default")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert refusal(str(tmp_path / "gone.toml")).startswith("gone.toml: ")


def test_a_directory_is_no_recipe(tmp_path: Path) -> None:
    (tmp_path / "folder.toml").mkdir()
    assert refusal(str(tmp_path / "folder.toml")).startswith("folder.toml: ")


@pytest.mark.parametrize("content", [b"window = ", b"= 3", b"window = 3\nwindow = 4\n", b"\xff\xfe\x00", b"[data\n"])
def test_what_is_not_toml_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "odd.toml"
    path.write_bytes(content)
    assert refusal(str(path)).startswith("odd.toml: ")


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
def test_an_unknown_key_is_refused_by_name(tmp_path: Path, old: str, new: str, key: str) -> None:
    assert refusal(written(tmp_path, (old, new))).startswith(f"mine.toml: {key}: ")


@pytest.mark.parametrize(
    ("old", "new", "there_is"),
    [
        ("[data]", "[odd]\n[data]", "description, seed, window, "),
        ("[network]", "[network]\npenalty.odd = 1", "kernel_l1, kernel_l2, "),
        ("[network]", "[network]\nreservoir.odd = 1", "spectral_radius, leak, "),
        ('kind = "log_return"', 'kind = "log_return"\nodd = 1', "kind, decay, winsor, "),
        ('kind = "log_return"', 'kind = "minmax_price"\nodd = 1', "kind"),
    ],
)
def test_the_keys_that_there_are_stand_beside_an_unknown_one(tmp_path: Path, old: str, new: str, there_is: str) -> None:
    message = refusal(written(tmp_path, (old, new)))
    assert f"odd: there is no such key here; there is {there_is}" in message
    assert not message.endswith(", ")


def test_an_unknown_key_of_the_transform_is_refused_by_name(tmp_path: Path) -> None:
    message = refusal(written(tmp_path, ('kind = "log_return"', 'kind = "log_return"\ndecya = 0.9')))
    assert message.startswith("mine.toml: transform")
    assert "decya" in message


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("window = 30", "window = 9", "window"),
        ("window = 30", "window = 1001", "window"),
        ("window = 30", 'window = "sixty"', "window"),
        ("window = 30", "window = 30.5", "window"),
        ("window = 30", "window = 30\nseed = -1", "seed"),
        ("window = 30", "window = 30\nseed = 2147483648", "seed"),
        ("horizon = 3", "horizon = 0", "horizon"),
        ("horizon = 3", "horizon = 101", "horizon"),
        ("[50, 80]", "[0, 80]", "levels.0"),
        ("[50, 80]", "[50, 100]", "levels.1"),
        ("[50, 80]", "[50, 82.5]", "levels.1"),
        ("test = 0.2", "test = 1.0", "split.test"),
        ("test = 0.2", "test = -0.1", "split.test"),
        ("test = 0.2", "test = nan", "split.test"),
        ('column = "open"', "column = 3", "data.column"),
        ('column = "open"', "synthetic_paths = -1", "data.synthetic_paths"),
        ('column = "open"', "synthetic_length = 99", "data.synthetic_length"),
        ('kind = "log_return"', 'kind = "wavelet"', "transform"),
        ('kind = "log_return"', "decay = 0.9", "transform"),
        ("units = [8]", "units = []", "network.units"),
        ("units = [8]", "units = [8, 0]", "network.units.1"),
        ("units = [8]", 'units = [8]\ncell = "qrnn"', "network.cell"),
        ("units = [8]", 'units = [8]\nstructure = "many_to_all"', "network.structure"),
        ("units = [8]", 'units = [8]\nkernel = "zeros"', "network.kernel"),
        ("units = [8]", 'units = [8]\nrecurrent = "zeros"', "network.recurrent"),
        ("units = [8]", 'units = [8]\nactivation = "softmax"', "network.activation"),
        ("units = [8]", "units = [8]\nrecurrent_dropout = 1.0", "network.recurrent_dropout"),
        ("units = [8]", "units = [8]\nrecurrent_scale = 0", "network.recurrent_scale"),
        ("units = [8]", "units = [8]\nforget_bias = 11", "network.forget_bias"),
        ("units = [8]", "units = [8]\ntruncate = 0", "network.truncate"),
        ("units = [8]", "units = [8]\npenalty.kernel_l1 = -0.1", "network.penalty.kernel_l1"),
        ("units = [8]", "units = [8]\npenalty.activity_l2 = nan", "network.penalty.activity_l2"),
        ("units = [8]", "units = [8]\nreservoir.spectral_radius = 0", "network.reservoir.spectral_radius"),
        ("units = [8]", "units = [8]\nreservoir.spectral_radius = -1", "network.reservoir.spectral_radius"),
        ("units = [8]", "units = [8]\nreservoir.leak = 0", "network.reservoir.leak"),
        ("units = [8]", "units = [8]\nreservoir.leak = 1.1", "network.reservoir.leak"),
        ("units = [8]", "units = [8]\nreservoir.sparsity = 1.0", "network.reservoir.sparsity"),
        ("units = [8]", "units = [8]\nreservoir.ridge = 0", "network.reservoir.ridge"),
        ("units = [8]", "units = [8]\nreservoir.count = 0", "network.reservoir.count"),
        ("units = [8]", "units = [8]\nreservoir.washout = -1", "network.reservoir.washout"),
        ("epochs = 3", "epochs = 3\nclip_value = 0", "training.clip_value"),
        ("epochs = 3", "epochs = 3\nclip_weight_norm = -1", "training.clip_weight_norm"),
        ("dropout = 0.1", "dropout = 1.0", "network.dropout"),
        ('loss = "pinball"', 'loss = "mae"', "training.loss"),
        ('loss = "pinball"', 'loss = "pinball"\noptimizer = "sgd"', "training.optimizer"),
        ('loss = "pinball"', 'loss = "pinball"\nlearning_rate = 0', "training.learning_rate"),
        ('loss = "pinball"', 'loss = "pinball"\nlearning_rate = nan', "training.learning_rate"),
        ('loss = "pinball"', 'loss = "pinball"\nlearning_rate = 1.1', "training.learning_rate"),
        ('loss = "pinball"', 'loss = "pinball"\nbatch = 0', "training.batch"),
        ('loss = "pinball"', 'loss = "pinball"\nclip_norm = 0', "training.clip_norm"),
        ('loss = "pinball"', 'loss = "pinball"\nclip_norm = inf', "training.clip_norm"),
        ("epochs = 3", 'epochs = 3\nschedule = "linear"', "training.schedule"),
        ("units = [8]", "units = [8]\nhead = -1", "network.head"),
        ("units = [8]", "units = [8]\nhead = 4097", "network.head"),
        ('stocks = ["AAPL"]', 'stocks = ["AAPL"]\nsynthetic_stride = 0', "data.synthetic_stride"),
        ('stocks = ["AAPL"]', 'stocks = ["AAPL"]\nsynthetic_stride = 1001', "data.synthetic_stride"),
        ('stocks = ["AAPL"]', 'stocks = ["AAPL"]\nunseen = "vix"', "data.unseen"),
        ('kind = "log_return"', 'kind = "log_return"\nlevel = 3', "transform.log_return.level"),
        ("epochs = 3", "epochs = 0", "training.epochs"),
        ("epochs = 3", "batch = 3", "training.epochs"),
        ("patience = 2", "patience = 0", "training.patience"),
        ('center = "auto"', 'center = "middle"', "calibration.center"),
        ('description = "mine"', "seed = 2", "description"),
    ],
)
def test_a_bad_or_missing_value_is_refused_by_file_and_key(tmp_path: Path, old: str, new: str, key: str) -> None:
    assert refusal(written(tmp_path, (old, new))).startswith(f"mine.toml: {key}: ")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ([("[50, 80]", "[80, 50]")], "levels must rise"),
        ([("[50, 80]", "[50, 50]")], "levels must rise and not repeat"),
        ([('"pinball"', '"mse"')], "levels need training.loss = 'pinball'"),
        ([("calibration = 0.1\n", "")], "levels need split.calibration"),
        ([("validation = 0.1\n", "")], "training.patience needs split.validation"),
        ([("validation = 0.1\n", ""), ("patience = 2\n", "")], "calibration.center = 'auto' needs split.validation"),
        ([('column = "open"', 'csv = "prices.csv"')], "data: Value error, stocks and csv exclude each other"),
        ([('stocks = ["AAPL"]\n', "")], "data: Value error, names no prices: give stocks, csv or synthetic_paths"),
        ([('stocks = ["AAPL"]', "stocks = []")], "names no prices"),
        ([('column = "open"', 'test_csv = "later.csv"')], "data: Value error, test_csv needs csv"),
        ([("test = 0.2", "test = 0.71")], "split: Value error, validation, calibration and test leave less than"),
    ],
)
def test_keys_that_contradict_each_other_are_refused(tmp_path: Path, changes: list[tuple[str, str]], said: str) -> None:
    message = refusal(written(tmp_path, *changes))
    assert message.startswith("mine.toml: ")
    assert said in message


@pytest.mark.parametrize(
    ("network", "said"),
    [
        ('cell = "lstm"\nactivation = "relu"', "network: Value error, activation = 'relu' needs cell = 'rnn'"),
        ('cell = "gru"\nrecurrent = "identity"', "network: Value error, recurrent = 'identity' needs cell = 'rnn'"),
        ('cell = "gru"\nforget_bias = 2', "network: Value error, forget_bias needs cell = 'lstm'"),
        ("reservoir.leak = 0.5", "network: Value error, reservoir needs cell = 'echo_state'"),
        ('structure = "one_to_many"\ntruncate = 5', "network: Value error, truncate needs another structure"),
        (
            'cell = "echo_state"\nreservoir.washout = 5',
            "network: Value error, reservoir.washout needs structure = 'many_to_many'",
        ),
        (
            'cell = "echo_state"\nstructure = "encoder_decoder"',
            "network: Value error, cell = 'echo_state' needs structure = 'many_to_one' or 'many_to_many'",
        ),
        ("truncate = 29", "network.truncate = 29 must be less than the 29 steps of the window"),
        (
            'cell = "echo_state"\nstructure = "many_to_many"\nreservoir.washout = 29',
            "network.reservoir.washout = 29 must be less than the 29 steps of the window",
        ),
        (
            'cell = "echo_state"\npenalty.kernel_l2 = 1\nhead = 3\nkernel = "he"',
            "network: Value error, cell = 'echo_state' is not trained step by step and takes no head, kernel, penalty",
        ),
        (
            'cell = "echo_state"',
            "'echo_state' is solved in closed form and takes no training.patience, training.epochs above 1",
        ),
    ],
)
def test_remedies_where_they_make_no_sense_are_refused(tmp_path: Path, network: str, said: str) -> None:
    message = refusal(written(tmp_path, ("dropout = 0.1", network)))
    assert message.startswith("mine.toml: ")
    assert said in message


def test_an_echo_state_network_has_one_layer_and_is_fitted_once(tmp_path: Path) -> None:
    echo = ("dropout = 0.1", 'cell = "echo_state"')
    assert "units must be one number" in refusal(written(tmp_path, echo, ("[8]", "[8, 8]")))
    impatient = ("patience = 2\n", "")
    said = "network.cell = 'echo_state' is solved in closed form and takes no "
    assert said + "training.epochs above 1" in refusal(written(tmp_path, echo, impatient))
    clipped = ("epochs = 3", "epochs = 3\nclip_value = 1")
    assert said + "training.clip_value" in refusal(written(tmp_path, echo, impatient, clipped))
    taught = ("epochs = 3", 'epochs = 1\nlearning_rate = 0.01\nschedule = "cosine"\nbatch = 64')
    unused = "training.learning_rate, training.schedule, training.batch"
    assert refusal(written(tmp_path, echo, impatient, taught)).endswith(said + unused)
    once = load(written(tmp_path, echo, impatient, ("epochs = 3", "epochs = 1")))
    assert once.network.echo == Reservoir()


@pytest.mark.parametrize("structure", ["encoder_decoder", "one_to_many"])
def test_a_path_has_several_steps(tmp_path: Path, structure: str) -> None:
    path = written(tmp_path, ("dropout = 0.1", f'structure = "{structure}"'))
    assert load(path).network.structure == structure
    assert f"network.structure = '{structure}' needs a horizon of 2 or more" in refusal(path, horizon=1)


def test_gradients_are_clipped_in_one_way(tmp_path: Path) -> None:
    path = written(tmp_path, ("epochs = 3", "epochs = 3\nclip_norm = 1\nclip_value = 1"))
    assert "training: Value error, clip_norm and clip_value exclude each other" in refusal(path)


@pytest.mark.parametrize("table", ["data", "transform", "network", "training"])
def test_a_missing_table_is_named(tmp_path: Path, table: str) -> None:
    start = WHOLE.index(f"[{table}]")
    whole = WHOLE[:start] + WHOLE[WHOLE.index("\n[", start) + 1 :]
    assert refusal(written(tmp_path, text=whole)).startswith(f"mine.toml: {table}: ")


@pytest.mark.parametrize("shares", [(0.3, 0.3, 0.3), (0.1, 0.4, 0.4), (0.2, 0.3, 0.4), (0.0, 0.0, 0.9)])
def test_a_tenth_is_enough_for_training(shares: tuple[float, float, float]) -> None:
    split = Split(**dict(zip(("validation", "calibration", "test"), shares, strict=True)))
    assert split.train == pytest.approx(0.1)


# Changes


def test_changes_replace_at_the_top_level_and_key_by_key_in_a_table(tmp_path: Path) -> None:
    path = written(tmp_path)
    plain = load(path)
    changed = load(path, seed=7, levels=[90], data={"column": "close"}, training={"epochs": 1})
    assert (changed.seed, changed.levels) == (7, [90])
    assert changed.data == plain.data.model_copy(update={"column": "close"})
    assert changed.training == plain.training.model_copy(update={"epochs": 1})
    assert (changed.split, changed.network, changed.window) == (plain.split, plain.network, plain.window)


def test_changes_may_bring_a_table_that_the_file_has_not(tmp_path: Path) -> None:
    path = written(tmp_path, ('[calibration]\ncenter = "auto"\n', ""))
    assert load(path).calibration.center == "network"
    assert load(path, calibration={"center": "last_price"}).calibration.center == "last_price"


def test_no_changes_are_the_file_itself(tmp_path: Path) -> None:
    path = written(tmp_path)
    assert load(path, data={}) == load(path)


def test_changes_are_checked_like_the_file(tmp_path: Path) -> None:
    path = written(tmp_path)
    assert refusal(path, window=3).startswith("mine.toml: window: ")
    assert refusal(path, data={"csv": Path("prices.csv")}).startswith("mine.toml: data: ")
    assert refusal(path, sead=3).startswith("mine.toml: sead: ")


def test_a_csv_can_take_the_place_of_the_stocks(tmp_path: Path) -> None:
    path = written(tmp_path)
    data = load(path, data={"stocks": [], "csv": Path("prices.csv"), "test_csv": None}).data
    assert (data.stocks, data.csv, data.test_csv) == ([], Path("prices.csv"), None)


@pytest.mark.parametrize("value", ["3", '"AAPL"', "[]", "[1, 2]"])
def test_a_value_where_a_table_belongs_is_refused_even_where_changes_go_into_it(tmp_path: Path, value: str) -> None:
    text = f'description = "mine"\ndata = {value}\n'
    path = written(tmp_path, text=text)
    assert refusal(path).startswith("mine.toml: data: ")
    assert refusal(path, data={}).startswith("mine.toml: data: ")
    assert refusal(path, data={"column": "open"}).startswith("mine.toml: data: ")


def test_a_recipe_survives_its_json(tmp_path: Path) -> None:
    mine = load(written(tmp_path))
    assert Recipe.model_validate(mine.model_dump(mode="json")) == mine


# Under equal conditions


def test_recipes_are_compared_on_the_same_prices_for_as_many_epochs(tmp_path: Path) -> None:
    mine = written(tmp_path)
    found = recipe.alike([mine, "default", "tutorial", "echo-state", mine], 7)
    assert list(found) == ["mine", "default", "tutorial", "echo-state"]
    for each in found.values():
        assert (each.data.stocks, each.data.csv, each.data.synthetic_paths, each.data.unseen) == (["GOOG"], None, 0, [])
        assert each.data.column == "adj_close"
    assert [each.training.epochs for each in found.values()] == [7, 7, 7, 1]
    assert [each.training.patience for each in found.values()] == [None] * 4
    assert [each.horizon for each in found.values()] == [3, 5, 1, 5]


def test_all_recipes_are_those_that_are_shipped_and_keep_their_epochs() -> None:
    found = recipe.alike(["all"])
    assert list(found) == recipe.names()
    assert found["tutorial"].training.epochs == 100


def test_beside_all_recipes_others_are_compared_too(tmp_path: Path) -> None:
    mine = written(tmp_path)
    assert list(recipe.alike([mine, "all", "lstm"])) == ["mine", *recipe.names()]
    with pytest.raises(RecipeError, match=r"^no recipe is called 'tutorail'"):
        recipe.alike(["all", "tutorail"])


def test_a_recipe_that_keeps_its_epochs_keeps_its_patience(tmp_path: Path) -> None:
    found = recipe.alike([written(tmp_path)])["mine"].training
    assert (found.epochs, found.patience) == (3, 2)


def test_a_file_takes_the_place_of_the_stock() -> None:
    found = recipe.alike(["lstm"], None, Path("prices.csv"), "Open", Path("later.csv"))["lstm"].data
    assert (found.stocks, found.csv, found.column, found.test_csv) == (
        [],
        Path("prices.csv"),
        "Open",
        Path("later.csv"),
    )


def test_two_recipes_of_one_name_are_not_compared(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(RecipeError, match=r"^two recipes are called mine$"):
        recipe.alike([written(tmp_path), written(tmp_path / "a")])
