"""The recipe schema: shipped settings, defaults, and rejected values and combinations."""

from pathlib import Path

import pytest

from app.artifact.manifest import LogReturnParameters, MinMaxPriceParameters
from tests.training.recipe_writer import rejection, write_recipe
from training.data.sample_stocks import STOCK_NAMES
from training.data.unseen_series import UNSEEN_COLUMNS
from training.recipe import NetworkConfig, Recipe, ReservoirConfig, SplitConfig
from training.recipe_files import load_recipe

OPTIONAL_NETWORK_KEYS = {
    *("recurrent_dropout", "activation", "kernel", "recurrent", "recurrent_scale", "forget_bias", "truncate"),
    *("penalty", "reservoir"),
}


# Shipped recipes


def test_tutorial_recipe_has_the_tutorial_settings() -> None:
    tutorial = load_recipe("tutorial")
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
    assert tutorial.network.model_dump(exclude=OPTIONAL_NETWORK_KEYS) == {
        "structure": "many_to_one",
        "cell": "lstm",
        "units": [50, 50, 50, 50],
        "dropout": 0.2,
        "head": 0,
    }
    plain = NetworkConfig(units=[1])
    assert tutorial.network.model_dump(include=OPTIONAL_NETWORK_KEYS) == plain.model_dump(include=OPTIONAL_NETWORK_KEYS)
    assert tutorial.training.model_dump() == {
        "loss": "mse",
        "optimizer": "adam",
        "learning_rate": 0.001,  # the default of adam
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


def test_default_recipe_is_scale_free_and_has_intervals() -> None:
    default = load_recipe("default")
    assert isinstance(default.transform, LogReturnParameters)
    assert {80, 95} <= set(default.levels)
    assert default.training.loss == "pinball"
    assert default.is_center_automatic
    assert default.split.validation
    assert default.split.calibration


def test_default_recipe_evaluates_on_unseen_series() -> None:
    data = load_recipe("default").data
    assert data.unseen == list(UNSEEN_COLUMNS)
    assert set(data.stocks) <= set(STOCK_NAMES)
    assert data.csv is None


# Values and defaults


def test_recipe_missing_keys_have_defaults(tmp_path: Path) -> None:
    recipe = load_recipe(write_recipe(tmp_path))
    assert (recipe.description, recipe.window, recipe.horizon, recipe.levels) == ("my recipe", 30, 3, [50, 80])
    assert recipe.seed == 1
    assert recipe.training.learning_rate == 0.001
    assert recipe.split.train == pytest.approx(0.6)


def test_recipe_quantiles_are_interval_ends_and_median(tmp_path: Path) -> None:
    recipe = load_recipe(write_recipe(tmp_path, ("[50, 80]", "[50, 80, 95]")))
    assert recipe.quantiles == pytest.approx([0.025, 0.1, 0.25, 0.5, 0.75, 0.9, 0.975])
    assert 0.5 in recipe.quantiles


def test_recipe_is_frozen(tmp_path: Path) -> None:
    recipe = load_recipe(write_recipe(tmp_path))
    with pytest.raises(ValueError, match="frozen"):
        recipe.window = 40  # type: ignore[misc]  # the assignment must fail


def test_recipe_json_round_trip(tmp_path: Path) -> None:
    recipe = load_recipe(write_recipe(tmp_path))
    assert Recipe.model_validate(recipe.model_dump(mode="json")) == recipe


# Rejected recipes


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
        ('description = "my recipe"', "seed = 2", "description"),
    ],
)
def test_recipe_bad_or_missing_value_names_file_and_key(tmp_path: Path, old: str, new: str, key: str) -> None:
    assert rejection(write_recipe(tmp_path, (old, new))).startswith(f"mine.toml: {key}: ")


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ([("[50, 80]", "[80, 50]")], "levels must be in increasing order"),
        ([("[50, 80]", "[50, 50]")], "levels must be in increasing order, without repeats"),
        ([('"pinball"', '"mse"')], "levels require training.loss = 'pinball'"),
        ([("calibration = 0.1\n", "")], "levels require split.calibration"),
        ([("validation = 0.1\n", "")], "training.patience requires split.validation"),
        ([("validation = 0.1\n", ""), ("patience = 2\n", "")], "calibration.center = 'auto' requires split.validation"),
        ([('column = "open"', 'csv = "prices.csv"')], "data: stocks and csv are mutually exclusive"),
        ([('stocks = ["AAPL"]\n', "")], "data: no price source; set stocks, csv or synthetic_paths"),
        ([('stocks = ["AAPL"]', "stocks = []")], "no price source"),
        ([('column = "open"', 'test_csv = "later.csv"')], "data: test_csv requires csv"),
        ([("test = 0.2", "test = 0.71")], "split: validation, calibration and test leave less than"),
    ],
)
def test_recipe_contradicting_keys_are_rejected(tmp_path: Path, changes: list[tuple[str, str]], problem: str) -> None:
    message = rejection(write_recipe(tmp_path, *changes))
    assert message.startswith("mine.toml: ")
    assert problem in message


@pytest.mark.parametrize(
    ("network", "problem"),
    [
        ('cell = "lstm"\nactivation = "relu"', "network: activation = 'relu' requires cell = 'rnn'"),
        ('cell = "gru"\nrecurrent = "identity"', "network: recurrent = 'identity' requires cell = 'rnn'"),
        ('cell = "gru"\nforget_bias = 2', "network: forget_bias requires cell = 'lstm'"),
        ("reservoir.leak = 0.5", "network: reservoir requires cell = 'echo_state'"),
        ('structure = "one_to_many"\ntruncate = 5', "network: truncate does not support structure = 'one_to_many'"),
        (
            'cell = "echo_state"\nreservoir.washout = 5',
            "network: reservoir.washout requires structure = 'many_to_many'",
        ),
        (
            'cell = "echo_state"\nstructure = "encoder_decoder"',
            "network: cell = 'echo_state' requires structure = 'many_to_one' or 'many_to_many'",
        ),
        ("truncate = 29", "network.truncate = 29 must be less than the 29 steps of the window"),
        (
            'cell = "echo_state"\nstructure = "many_to_many"\nreservoir.washout = 29',
            "network.reservoir.washout = 29 must be less than the 29 steps of the window",
        ),
        (
            'cell = "echo_state"\npenalty.kernel_l2 = 1\nhead = 3\nkernel = "he"',
            (
                "network: cell = 'echo_state' is not trained by gradient descent "
                "and does not support head, kernel, penalty"
            ),
        ),
        (
            'cell = "echo_state"',
            "'echo_state' is solved in closed form and does not support training.patience, training.epochs above 1",
        ),
    ],
)
def test_recipe_unsupported_network_keys_are_rejected(tmp_path: Path, network: str, problem: str) -> None:
    message = rejection(write_recipe(tmp_path, ("dropout = 0.1", network)))
    assert message.startswith("mine.toml: ")
    assert problem in message


def test_recipe_echo_state_has_one_layer_and_one_epoch(tmp_path: Path) -> None:
    echo = ("dropout = 0.1", 'cell = "echo_state"')
    assert "units must have one entry" in rejection(write_recipe(tmp_path, echo, ("[8]", "[8, 8]")))
    no_patience = ("patience = 2\n", "")
    problem = "network.cell = 'echo_state' is solved in closed form and does not support "
    assert problem + "training.epochs above 1" in rejection(write_recipe(tmp_path, echo, no_patience))
    clipped = ("epochs = 3", "epochs = 3\nclip_value = 1")
    assert problem + "training.clip_value" in rejection(write_recipe(tmp_path, echo, no_patience, clipped))
    trained = ("epochs = 3", 'epochs = 1\nlearning_rate = 0.01\nschedule = "cosine"\nbatch = 64')
    unused = "training.learning_rate, training.schedule, training.batch"
    assert rejection(write_recipe(tmp_path, echo, no_patience, trained)).endswith(problem + unused)
    once = load_recipe(write_recipe(tmp_path, echo, no_patience, ("epochs = 3", "epochs = 1")))
    assert once.network.reservoir_or_default == ReservoirConfig()


@pytest.mark.parametrize("structure", ["encoder_decoder", "one_to_many"])
def test_recipe_unrolled_structure_requires_a_horizon(tmp_path: Path, structure: str) -> None:
    path = write_recipe(tmp_path, ("dropout = 0.1", f'structure = "{structure}"'))
    assert load_recipe(path).network.structure == structure
    assert f"network.structure = '{structure}' requires a horizon of 2 or more" in rejection(path, horizon=1)


def test_recipe_two_ways_of_clipping_are_rejected(tmp_path: Path) -> None:
    path = write_recipe(tmp_path, ("epochs = 3", "epochs = 3\nclip_norm = 1\nclip_value = 1"))
    assert "training: clip_norm and clip_value are mutually exclusive" in rejection(path)


@pytest.mark.parametrize("shares", [(0.3, 0.3, 0.3), (0.1, 0.4, 0.4), (0.2, 0.3, 0.4), (0.0, 0.0, 0.9)])
def test_split_config_allows_a_tenth_for_training(shares: tuple[float, float, float]) -> None:
    split = SplitConfig(**dict(zip(("validation", "calibration", "test"), shares, strict=True)))
    assert split.train == pytest.approx(0.1)
