"""The schema of a recipe, the TOML file that fully determines a training run.

`training.recipe_files` finds and loads recipes.
"""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from app.artifact.affine import Affine
from app.artifact.manifest import Levels, TransformParameters, quantile_probabilities
from app.artifact.schema import FrozenSchema
from app.artifact.transform import build_transform

Fraction = Annotated[float, Field(ge=0, lt=1)]
PenaltyWeight = Annotated[float, Field(ge=0, le=1e6)]

# Keys of NetworkConfig that only gradient descent uses. An echo state network must leave them at their defaults.
GRADIENT_DESCENT_KEYS = (
    "dropout",
    "head",
    "recurrent_dropout",
    "activation",
    "kernel",
    "recurrent",
    "recurrent_scale",
    "truncate",
    "penalty",
)


def _changed_keys(config: FrozenSchema) -> list[str]:
    """Return the optional keys whose values differ from their defaults."""
    fields = type(config).model_fields.items()
    return [key for key, field in fields if not field.is_required() and getattr(config, key) != field.default]


class DataConfig(FrozenSchema):
    """The price series to train and evaluate on. All configured sources are used together."""

    stocks: list[str] = Field([], description="Names of sample stocks in bokeh_sampledata.")
    csv: Path | None = Field(None, description="CSV file of prices. Mutually exclusive with `stocks`.")
    test_csv: Path | None = Field(
        None, description="CSV file of the prices that directly follow those of `csv`. They form the test block."
    )
    column: str = Field("adj_close", description="Price column of the stocks and of the CSV files.")
    synthetic_paths: int = Field(
        0,
        ge=0,
        le=100_000,
        description="Number of simulated paths. The training block uses new paths for every epoch.",
    )
    synthetic_length: int = Field(500, ge=100, le=100_000, description="Number of prices in a simulated path.")
    synthetic_stride: int = Field(
        1, ge=1, le=1000, description="Steps between the origins of consecutive windows of a simulated path."
    )
    unseen: list[str] = Field(
        [],
        description="Names of series, listed in `unseen_series`, that the model is evaluated on but not trained on.",
    )

    @model_validator(mode="after")
    def _check_sources(self) -> Self:
        if bool(self.stocks) + bool(self.csv) + bool(self.synthetic_paths) == 0:
            raise ValueError("no price source; set stocks, csv or synthetic_paths")
        if self.stocks and self.csv:
            raise ValueError("stocks and csv are mutually exclusive; set one of them")
        if self.test_csv and not self.csv:
            raise ValueError("test_csv requires csv, the file whose prices come before it")
        return self


class SplitConfig(FrozenSchema):
    """Fractions of the time axis for the blocks after the training block, in this order. Gaps separate all blocks."""

    validation: Fraction = 0.0
    calibration: Fraction = 0.0
    test: Fraction = 0.2

    @property
    def train(self) -> float:
        """The fraction that remains for the training block."""
        return 1 - self.validation - self.calibration - self.test

    @model_validator(mode="after")
    def _check_train_fraction(self) -> Self:
        if self.train < 0.1 - 1e-9:
            raise ValueError("validation, calibration and test leave less than 0.1 for training; reduce them")
        return self


class PenaltyConfig(FrozenSchema):
    """Weights of the penalties that every recurrent layer adds to the loss.

    An L1 penalty is the sum of absolute values, an L2 penalty the sum of squares.
    """

    kernel_l1: PenaltyWeight = Field(0.0, description="L1 penalty on the kernel, the weights of the inputs.")
    kernel_l2: PenaltyWeight = Field(0.0, description="L2 penalty on the kernel, the weights of the inputs.")
    recurrent_l1: PenaltyWeight = Field(0.0, description="L1 penalty on the recurrent kernel.")
    recurrent_l2: PenaltyWeight = Field(0.0, description="L2 penalty on the recurrent kernel.")
    activity_l1: PenaltyWeight = Field(0.0, description="L1 penalty on the layer's outputs, averaged over the batch.")
    activity_l2: PenaltyWeight = Field(0.0, description="L2 penalty on the layer's outputs, averaged over the batch.")


class ReservoirConfig(FrozenSchema):
    """An echo state network: fixed random recurrent weights, and a linear readout that is solved in closed form."""

    spectral_radius: float = Field(
        0.9, gt=0, le=10, description="Spectral radius of the recurrent kernel: its largest absolute eigenvalue."
    )
    leak: float = Field(1.0, gt=0, le=1, description="Leaking rate: the fraction of the state that each step replaces.")
    input_scale: float = Field(
        0.5, gt=0, le=100, description="Maximum absolute value of the input weights, which are uniform."
    )
    sparsity: float = Field(0.9, ge=0, le=0.99, description="Fraction of the recurrent weights that are 0.")
    washout: int = Field(
        0, ge=0, description="Number of steps at the start of each window that the readout is not fitted to."
    )
    ridge: float = Field(
        1e-3, gt=0, le=1e6, description="Ridge penalty per sample on the squared weights of the readout."
    )
    count: int = Field(
        1, ge=1, le=16, description="Number of independent reservoirs, each with its own readout. Outputs are averaged."
    )


class NetworkConfig(FrozenSchema):
    """The structure, cell type, initial weights and regularization of the network."""

    structure: Literal["many_to_one", "many_to_many", "encoder_decoder", "one_to_many"] = Field(
        "many_to_one",
        description=(
            "`many_to_one` forecasts from the last step. `many_to_many` also forecasts from every earlier step during "
            "training. `encoder_decoder` and `one_to_many` unroll over the horizon."
        ),
    )
    cell: Literal["rnn", "gru", "lstm", "echo_state"] = "lstm"
    units: list[Annotated[int, Field(ge=1, le=4096)]] = Field(
        min_length=1, max_length=16, description="Units of each recurrent layer, first layer first."
    )
    dropout: float = Field(0.0, ge=0, lt=1, description="Dropout rate after each recurrent layer.")
    head: int = Field(
        0, ge=0, le=4096, description="Units of a dense ReLU layer before the output layer. 0 omits the layer."
    )
    recurrent_dropout: float = Field(0.0, ge=0, lt=1, description="Dropout rate of the state between steps.")
    activation: Literal["tanh", "relu"] = "tanh"
    kernel: Literal["glorot", "he", "orthogonal"] = Field("glorot", description="Initializer of the input weights.")
    recurrent: Literal["orthogonal", "glorot", "he", "identity"] = Field(
        "orthogonal", description="Initializer of the recurrent weights."
    )
    recurrent_scale: float = Field(
        1.0, gt=0, le=100, description="Factor that multiplies the initial recurrent weights."
    )
    forget_bias: float | None = Field(
        None, ge=-10, le=10, description="Initial bias of the LSTM's forget gate. None keeps the Keras default of 1."
    )
    truncate: int | None = Field(
        None, ge=1, description="Number of steps that gradients flow back before truncation. None does not truncate."
    )
    penalty: PenaltyConfig = PenaltyConfig()
    reservoir: ReservoirConfig | None = None

    @property
    def has_output_per_step(self) -> bool:
        """Whether every step of the window has an output during training."""
        return self.structure == "many_to_many"

    @property
    def reservoir_or_default(self) -> ReservoirConfig:
        """The configured reservoir, or the default one."""
        return self.reservoir or ReservoirConfig()

    @model_validator(mode="after")
    def _check_combinations(self) -> Self:
        changed = [key for key in _changed_keys(self) if key in GRADIENT_DESCENT_KEYS]
        for is_wrong, reason in (
            (self.activation == "relu" and self.cell != "rnn", "activation = 'relu' requires cell = 'rnn'"),
            (self.recurrent == "identity" and self.cell != "rnn", "recurrent = 'identity' requires cell = 'rnn'"),
            (self.forget_bias is not None and self.cell != "lstm", "forget_bias requires cell = 'lstm'"),
            (self.reservoir and self.cell != "echo_state", "reservoir requires cell = 'echo_state'"),
            (
                self.truncate and self.structure == "one_to_many",
                "truncate does not support structure = 'one_to_many', which does not step through the window",
            ),
            (
                self.reservoir_or_default.washout and not self.has_output_per_step,
                "reservoir.washout requires structure = 'many_to_many'; 'many_to_one' is fitted on the last state only",
            ),
            (
                self.cell == "echo_state" and self.structure not in ("many_to_one", "many_to_many"),
                "cell = 'echo_state' requires structure = 'many_to_one' or 'many_to_many'",
            ),
            (
                self.cell == "echo_state" and len(self.units) > 1,
                "units must have one entry for cell = 'echo_state'; use reservoir.count for several reservoirs",
            ),
            (
                self.cell == "echo_state" and changed,
                f"cell = 'echo_state' is not trained by gradient descent and does not support {', '.join(changed)}",
            ),
        ):
            if is_wrong:
                raise ValueError(reason)
        return self


class TrainingConfig(FrozenSchema):
    """The loss, the optimizer and early stopping."""

    loss: Literal["mse", "pinball"]
    optimizer: Literal["adam"] = "adam"
    learning_rate: float = Field(0.001, gt=0, le=1)
    schedule: Literal["constant", "cosine"] = Field(
        "constant",
        description=(
            "Learning rate schedule. `cosine` warms up to `learning_rate` during the first 2% of the steps and then "
            "decays to 1% of it."
        ),
    )
    batch: int = Field(32, ge=1, description="Number of windows per batch.")
    epochs: int = Field(ge=1, le=10_000)
    clip_norm: float | None = Field(None, gt=0, description="Maximum norm of the whole gradient.")
    clip_weight_norm: float | None = Field(None, gt=0, description="Maximum norm of the gradient of each weight array.")
    clip_value: float | None = Field(None, gt=0, description="Maximum absolute value of each gradient component.")
    patience: int | None = Field(
        None,
        ge=1,
        description="Number of epochs without a lower validation loss before training stops. None trains all epochs.",
    )

    @property
    def clipping_keys(self) -> list[str]:
        """The clipping keys that are set."""
        return [key for key in ("clip_norm", "clip_weight_norm", "clip_value") if getattr(self, key) is not None]

    @model_validator(mode="after")
    def _check_clipping(self) -> Self:
        if len(self.clipping_keys) > 1:
            raise ValueError(f"{' and '.join(self.clipping_keys)} are mutually exclusive; set one of them")
        return self


class CalibrationConfig(FrozenSchema):
    """The center of the published forecasts."""

    center: Literal["network", "last_price", "auto"] = Field(
        "network",
        description=(
            "Source of the median. `auto` uses the network's median if it has skill on the validation block, and the "
            "last price otherwise."
        ),
    )


class Recipe(FrozenSchema):
    """A complete training run."""

    description: str
    seed: int = Field(1, ge=0, lt=2**31)
    window: int = Field(60, ge=10, le=1000)
    horizon: int = Field(1, ge=1, le=100)
    levels: Levels = Field([], description="Central interval coverages in percent.")
    data: DataConfig
    split: SplitConfig = SplitConfig()
    transform: TransformParameters
    network: NetworkConfig
    training: TrainingConfig
    calibration: CalibrationConfig = CalibrationConfig()

    @model_validator(mode="after")
    def _check_combinations(self) -> Self:
        if self.levels and self.training.loss != "pinball":
            raise ValueError("levels require training.loss = 'pinball'; mean squared error cannot fit quantiles")
        if self.levels and not self.split.calibration:
            raise ValueError("levels require split.calibration; intervals are calibrated on a separate block")
        for key, is_set in (
            ("training.patience", self.training.patience),
            ("calibration.center = 'auto'", self.is_center_automatic),
        ):
            if is_set and not self.split.validation:
                raise ValueError(f"{key} requires split.validation")
        self._check_network()
        return self

    def _check_network(self) -> None:
        steps, _ = build_transform(self.transform, Affine(1.0, 0.0)).input_shape(self.window)
        for key, value in (
            ("truncate", self.network.truncate),
            ("reservoir.washout", self.network.reservoir_or_default.washout),
        ):
            if value and value >= steps:
                raise ValueError(f"network.{key} = {value} must be less than the {steps} steps of the window")
        if self.horizon == 1 and self.network.structure in ("encoder_decoder", "one_to_many"):
            raise ValueError(f"network.structure = '{self.network.structure}' requires a horizon of 2 or more")
        if self.network.cell == "echo_state":
            changed = [*_changed_keys(self.training), *(["epochs above 1"] if self.training.epochs > 1 else [])]
            if changed:
                keys = ", ".join(f"training.{key}" for key in changed)
                raise ValueError(f"network.cell = 'echo_state' is solved in closed form and does not support {keys}")

    @property
    def is_center_automatic(self) -> bool:
        """Whether the validation block decides where the median comes from."""
        return self.calibration.center == "auto"

    @property
    def quantiles(self) -> list[float]:
        """The Q quantile probabilities of the outputs, in ascending order."""
        return quantile_probabilities(self.levels)
