"""A recipe: a TOML file that fully determines a training run."""

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import Field, ValidationError, model_validator

from app.artifact.affine import Affine
from app.artifact.frozen_model import FrozenModel
from app.artifact.manifest import Levels, TransformParameters, quantile_probabilities
from app.artifact.transform import build_transform

RECIPES = Path(__file__).parent / "recipes"

STOCK = "GOOG"  # of the sample, on which recipes are compared
FARTHEST = 5  # steps ahead, where recipes are compared

Fraction = Annotated[float, Field(ge=0, lt=1)]
Weight = Annotated[float, Field(ge=0, le=1e6)]

# What only a network has that is trained step by step; of Training, it is all that has a default.
TRAINED_ONLY = (
    *("dropout", "head", "recurrent_dropout", "activation", "kernel", "recurrent", "recurrent_scale"),
    *("truncate", "penalty"),
)


class RecipeError(Exception):
    """A recipe that cannot be followed; says which file and which key."""


def _changed(part: FrozenModel) -> list[str]:
    """The keys that are not as they are by default."""
    fields = type(part).model_fields.items()
    return [key for key, field in fields if not field.is_required() and getattr(part, key) != field.default]


class Data(FrozenModel):
    """Where prices come from. All that is named is used together."""

    stocks: list[str] = Field([], description="sample stocks of bokeh_sampledata")
    csv: Path | None = Field(None, description="a file of prices, instead of the stocks")
    test_csv: Path | None = Field(
        None, description="what followed them: the test block, right after the file's last row"
    )
    column: str = Field("adj_close", description="of the stocks and of the files")
    synthetic_paths: int = Field(0, ge=0, le=100_000, description="simulated; those to train on anew for each epoch")
    synthetic_length: int = Field(500, ge=100, le=100_000, description="prices in a path")
    synthetic_stride: int = Field(1, ge=1, le=1000, description="steps between the windows of a path")
    unseen: list[str] = Field([], description="series that judge the model, and that it never learns from")

    @model_validator(mode="after")
    def _names_some(self) -> Self:
        if bool(self.stocks) + bool(self.csv) + bool(self.synthetic_paths) == 0:
            raise ValueError("names no prices: give stocks, csv or synthetic_paths")
        if self.stocks and self.csv:
            raise ValueError("stocks and csv exclude each other")
        if self.test_csv and not self.csv:
            raise ValueError("test_csv needs csv: the file before it")
        return self


class Split(FrozenModel):
    """Fractions of the time axis, in this order after the training block, with a gap between blocks."""

    validation: Fraction = 0.0
    calibration: Fraction = 0.0
    test: Fraction = 0.2

    @property
    def train(self) -> float:
        return 1 - self.validation - self.calibration - self.test

    @model_validator(mode="after")
    def _leaves_some(self) -> Self:
        if self.train < 0.1 - 1e-9:
            raise ValueError("validation, calibration and test leave less than a tenth for training")
        return self


class Penalty(FrozenModel):
    """What is added to the loss, for every recurrent layer: absolute values (l1) and squares (l2), summed up."""

    kernel_l1: Weight = 0.0
    kernel_l2: Weight = 0.0
    recurrent_l1: Weight = Field(0.0, description="of the recurrent kernel")
    recurrent_l2: Weight = 0.0
    activity_l1: Weight = Field(0.0, description="of what a layer says, in the mean over a batch")
    activity_l2: Weight = 0.0


class Reservoir(FrozenModel):
    """An echo state network: fixed at random, all but its readout."""

    spectral_radius: float = Field(0.9, gt=0, le=10, description="largest absolute eigenvalue of the recurrent kernel")
    leak: float = Field(1.0, gt=0, le=1, description="share of a state that each step replaces")
    input_scale: float = Field(0.5, gt=0, le=100, description="input weights lie within ± this")
    sparsity: float = Field(0.9, ge=0, le=0.99, description="share of the recurrent weights that are 0")
    washout: int = Field(0, ge=0, description="first steps of a window, whose states the readout is not fitted on")
    ridge: float = Field(1e-3, gt=0, le=1e6, description="penalty on the readout's squared weights, for each sample")
    count: int = Field(1, ge=1, le=16, description="reservoirs, each with a readout of its own; answers are averaged")


class Network(FrozenModel):
    structure: Literal["many_to_one", "many_to_many", "encoder_decoder", "one_to_many"] = Field(
        "many_to_one",
        description="many_to_many answers at every step while training; the last two go over the horizon step by step",
    )
    cell: Literal["rnn", "gru", "lstm", "echo_state"] = "lstm"
    units: list[Annotated[int, Field(ge=1, le=4096)]] = Field(min_length=1, max_length=16)
    dropout: float = Field(0.0, ge=0, lt=1, description="after each recurrent layer, while training")
    head: int = Field(0, ge=0, le=4096, description="units of a rectified dense layer before the outputs; 0 has none")
    recurrent_dropout: float = Field(0.0, ge=0, lt=1, description="of the state between steps, while training")
    activation: Literal["tanh", "relu"] = "tanh"
    kernel: Literal["glorot", "he", "orthogonal"] = Field("glorot", description="how input weights start")
    recurrent: Literal["orthogonal", "glorot", "he", "identity"] = Field(
        "orthogonal", description="how recurrent weights start"
    )
    recurrent_scale: float = Field(1.0, gt=0, le=100, description="times which recurrent weights start")
    forget_bias: float | None = Field(None, ge=-10, le=10, description="where the forget gate's bias starts; 1 if none")
    truncate: int | None = Field(None, ge=1, description="steps that a gradient goes back before it is stopped")
    penalty: Penalty = Penalty()
    reservoir: Reservoir | None = None

    @property
    def every_step(self) -> bool:
        """Whether all steps of a window answer while training."""
        return self.structure == "many_to_many"

    @property
    def echo(self) -> Reservoir:
        """The reservoir, by default if none is described."""
        return self.reservoir or Reservoir()

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        given = [key for key in _changed(self) if key in TRAINED_ONLY]
        for is_wrong, reason in (
            (self.activation == "relu" and self.cell != "rnn", "activation = 'relu' needs cell = 'rnn'"),
            (self.recurrent == "identity" and self.cell != "rnn", "recurrent = 'identity' needs cell = 'rnn'"),
            (self.forget_bias is not None and self.cell != "lstm", "forget_bias needs cell = 'lstm'"),
            (self.reservoir and self.cell != "echo_state", "reservoir needs cell = 'echo_state'"),
            (
                self.truncate and self.structure == "one_to_many",
                "truncate needs another structure: one_to_many goes through no steps of the window",
            ),
            (
                self.echo.washout and not self.every_step,
                "reservoir.washout needs structure = 'many_to_many': many_to_one is fitted on the last state alone",
            ),
            (
                self.cell == "echo_state" and self.structure not in ("many_to_one", "many_to_many"),
                "cell = 'echo_state' needs structure = 'many_to_one' or 'many_to_many': its readout is solved at once",
            ),
            (
                self.cell == "echo_state" and len(self.units) > 1,
                "units must be one number for cell = 'echo_state'; reservoir.count asks for several reservoirs",
            ),
            (
                self.cell == "echo_state" and given,
                f"cell = 'echo_state' is not trained step by step and takes no {', '.join(given)}",
            ),
        ):
            if is_wrong:
                raise ValueError(reason)
        return self


class Training(FrozenModel):
    loss: Literal["mse", "pinball"]
    optimizer: Literal["adam"] = "adam"
    learning_rate: float = Field(0.001, gt=0, le=1)
    schedule: Literal["constant", "cosine"] = Field(
        "constant",
        description="cosine rises to the learning rate in a fiftieth of all steps, then falls to 1% of it",
    )
    batch: int = Field(32, ge=1)
    epochs: int = Field(ge=1, le=10_000)
    clip_norm: float | None = Field(None, gt=0, description="largest norm of the whole gradient")
    clip_weight_norm: float | None = Field(
        None, gt=0, description="largest norm of the gradient of any one weight array"
    )
    clip_value: float | None = Field(None, gt=0, description="largest absolute value in the gradient")
    patience: int | None = Field(None, ge=1, description="epochs without a better validation loss before stopping")

    @property
    def clips(self) -> list[str]:
        """The keys that clip."""
        return [key for key in ("clip_norm", "clip_weight_norm", "clip_value") if getattr(self, key) is not None]

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if len(self.clips) > 1:
            raise ValueError(f"{' and '.join(self.clips)} exclude each other: clip in one way")
        return self


class Calibration(FrozenModel):
    center: Literal["network", "last_price", "auto"] = Field(
        "network",
        description="where the median comes from; auto asks the validation block whether the network's has skill",
    )


class Recipe(FrozenModel):
    description: str
    seed: int = Field(1, ge=0, lt=2**31)
    window: int = Field(60, ge=10, le=1000)
    horizon: int = Field(1, ge=1, le=100)
    levels: Levels = Field([], description="central intervals, by coverage in percent")
    data: Data
    split: Split = Split()
    transform: TransformParameters
    network: Network
    training: Training
    calibration: Calibration = Calibration()

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.levels and self.training.loss != "pinball":
            raise ValueError("levels need training.loss = 'pinball': a mean squared error knows no quantiles")
        if self.levels and not self.split.calibration:
            raise ValueError("levels need split.calibration: an interval is calibrated on a block of its own")
        for key, wanted in (("training.patience", self.training.patience), ("calibration.center = 'auto'", self.auto)):
            if wanted and not self.split.validation:
                raise ValueError(f"{key} needs split.validation")
        self._network_agrees()
        return self

    def _network_agrees(self) -> None:
        steps, _ = build_transform(self.transform, Affine(1.0, 0.0)).input_shape(self.window)
        for key, value in (("truncate", self.network.truncate), ("reservoir.washout", self.network.echo.washout)):
            if value and value >= steps:
                raise ValueError(f"network.{key} = {value} must be less than the {steps} steps of the window")
        if self.horizon == 1 and self.network.structure in ("encoder_decoder", "one_to_many"):
            raise ValueError(f"network.structure = '{self.network.structure}' needs a horizon of 2 or more: a path")
        if self.network.cell == "echo_state":
            given = [*_changed(self.training), *(["epochs above 1"] if self.training.epochs > 1 else [])]
            if given:
                keys = ", ".join(f"training.{key}" for key in given)
                raise ValueError(f"network.cell = 'echo_state' is solved in closed form and takes no {keys}")

    @property
    def auto(self) -> bool:
        return self.calibration.center == "auto"

    @property
    def quantiles(self) -> list[float]:
        """The Q probabilities of the outputs, rising."""
        return quantile_probabilities(self.levels)


def names() -> list[str]:
    """The recipes that come with Pricecast."""
    return sorted(path.stem for path in RECIPES.glob("*.toml"))


def load(name_or_path: str, **changes: Any) -> Recipe:
    """Reads a recipe by its name, or from a file of one's own.

    Args:
        changes: values that replace the file's own: at the top level, or key by key in a table.

    Raises:
        RecipeError: no such recipe, or one that cannot be followed.
    """
    path = Path(name_or_path)
    if path.suffix != ".toml":
        path = RECIPES / f"{name_or_path}.toml"
        if name_or_path not in names():
            raise RecipeError(f"no recipe is called {name_or_path!r}; there is {', '.join(names())}, or a .toml file")
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"{path.name}: {error.strerror}") from error
    except ValueError as error:
        raise RecipeError(f"{path.name}: {' '.join(str(error).split())}") from error
    try:
        for key, value in changes.items():
            own = content.get(key, {})
            if not isinstance(value, dict):
                content[key] = value
            elif isinstance(own, dict):  # whatever else it is, validation refuses it
                content[key] = own | value
        return Recipe.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the recipe"
        said = first["msg"]
        if first["type"] == "extra_forbidden":
            said = f"there is no such key here; there is {', '.join(_keys(first['loc'][:-1]))}"
        raise RecipeError(f"{path.name}: {where}: {said}") from error


def alike(
    references: Sequence[str],
    epochs: int | None = None,
    csv: Path | None = None,
    column: str | None = None,
    test_csv: Path | None = None,
) -> dict[str, Recipe]:
    """Recipes to be compared, by name: each on the same prices, for as many epochs, at most five steps ahead.

    Args:
        references: names or files; `all` stands for all that come with Pricecast.
        epochs: for which all train to the end, without patience; each as its recipe says unless given. An echo state
            network is solved at once all the same.
        csv: the prices; a sample stock's unless given.

    Raises:
        RecipeError: as `load`, or two have the same name.
    """
    prices: dict[str, Any] = {"stocks": [STOCK], "csv": None, "column": "adj_close"}
    if csv:
        prices = {"stocks": [], "csv": csv, "column": column}
    changes: dict[str, Any] = {"data": prices | {"test_csv": test_csv, "synthetic_paths": 0, "unseen": []}}
    found = {}
    meant = [each for reference in references for each in (names() if reference == "all" else [reference])]
    for reference in dict.fromkeys(meant):
        own = load(reference)
        mine = changes | {"horizon": min(own.horizon, FARTHEST)}
        if epochs is not None and own.network.cell != "echo_state":
            mine["training"] = {"epochs": epochs, "patience": None}
        name = Path(reference).stem
        if name in found:
            raise RecipeError(f"two recipes are called {name}")
        found[name] = load(reference, **mine)
    return found


def _keys(place: tuple[int | str, ...]) -> list[str]:
    """The keys that a table may have; the transform's depend on its kind."""
    tables: list[Any] = [Recipe]
    for step in place:
        inner = [field.annotation for table in tables if (field := table.model_fields.get(str(step)))]
        tables = [each for one in inner for each in (one, *get_args(one)) if hasattr(each, "model_fields")] or tables
    kinds = [table for table in tables if getattr(table.model_fields.get("kind"), "default", None) in place]
    return list((kinds or tables)[0].model_fields)
