"""A recipe: a TOML file that fully determines a training run."""

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from app.artifact.manifest import Levels, Part, TransformParameters, quantiles_of

RECIPES = Path(__file__).parent / "recipes"

Fraction = Annotated[float, Field(ge=0, lt=1)]


class RecipeError(Exception):
    """A recipe that cannot be followed; says which file and which key."""


class Data(Part):
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


class Split(Part):
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


class Network(Part):
    structure: Literal["many_to_one"] = "many_to_one"
    cell: Literal["lstm"] = "lstm"
    units: list[Annotated[int, Field(ge=1, le=4096)]] = Field(min_length=1, max_length=16)
    dropout: float = Field(0.0, ge=0, lt=1, description="after each recurrent layer, while training")
    head: int = Field(0, ge=0, le=4096, description="units of a rectified dense layer before the outputs; 0 has none")


class Training(Part):
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
    patience: int | None = Field(None, ge=1, description="epochs without a better validation loss before stopping")


class Calibration(Part):
    center: Literal["network", "last_price", "auto"] = Field(
        "network",
        description="where the median comes from; auto asks the validation block whether the network's has skill",
    )


class Recipe(Part):
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
        return self

    @property
    def auto(self) -> bool:
        return self.calibration.center == "auto"

    @property
    def quantiles(self) -> list[float]:
        """The Q probabilities of the outputs, rising."""
        return quantiles_of(self.levels)


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
        raise RecipeError(f"{path.name}: {where}: {first['msg']}") from error
