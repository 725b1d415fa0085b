"""The manifest: the JSON document that describes an artifact and lists its files."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from app.artifact.evidence import Curve, Evidence
from app.artifact.schema import FrozenSchema

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")]
Level = Annotated[int, Field(ge=1, le=99)]
ModelName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]
Version = Annotated[str, Field(pattern=r"^[1-9][0-9]{0,8}$")]

Quantity = Literal["price", "volatility", "last step"]


def _check_increasing(levels: list[int]) -> list[int]:
    if sorted(set(levels)) != levels:
        raise ValueError("levels must be in increasing order, without repeats")
    return levels


Levels = Annotated[list[Level], AfterValidator(_check_increasing)]


def quantile_probabilities(levels: Sequence[int]) -> list[float]:
    """Return the Q = 2 · len(levels) + 1 probabilities that intervals of these levels need, in increasing order.

    The median is always among them.
    """
    tails = [0.5 - level / 200 for level in levels]
    return sorted({0.5, *tails, *(1 - tail for tail in tails)})


def interval_columns(level: int, levels: Sequence[int]) -> tuple[int, int]:
    """Return the columns of an interval's lower and upper end among the Q quantiles.

    The median is the middle column, `len(levels)`. Wider intervals lie further out.

    Args:
        level: One of `levels`.
        levels: All levels, in increasing order.
    """
    distance = list(levels).index(level) + 1
    return len(levels) - distance, len(levels) + distance


class LogReturnParameters(FrozenSchema):
    """Parameters of the `log_return` transform: log returns in units of the window's own volatility."""

    kind: Literal["log_return"] = "log_return"
    decay: float = Field(0.94, gt=0, lt=1, description="Weight of a return relative to the next, more recent one.")
    winsor: float = Field(8.0, gt=1, description="Cap on a return, in mean absolute returns of the window.")
    floor: float = Field(1e-6, gt=0, description="Smallest volatility per step.")
    clip: float = Field(10.0, gt=0, description="Largest absolute value of a network input.")
    level: bool = Field(False, description="Whether the window's volatility is a second input feature.")


class MinMaxPriceParameters(FrozenSchema):
    """Parameters of the `minmax_price` transform: prices scaled to (0, 1) over the training block."""

    kind: Literal["minmax_price"] = "minmax_price"


TransformParameters = Annotated[LogReturnParameters | MinMaxPriceParameters, Field(discriminator="kind")]


class NetworkSummary(FrozenSchema):
    """The network's architecture, for people to read; `model.keras` is the network itself."""

    structure: str = Field(description="How windows map to horizons, such as many_to_one.")
    cell: str = Field(description="Type of the recurrent cells, such as lstm.")
    units: list[int] = Field(description="Units of each recurrent layer, first layer first.")
    head: int = Field(0, description="Units of the ReLU layer before the output layer; 0 if there is none.")
    parameters: int = Field(gt=0, description="Number of trainable and fixed weights.")


class Calibration(FrozenSchema):
    """Corrections to the network's quantiles, in output units, applied before they are decoded to prices."""

    center: Literal["network", "last_price"] = Field(
        description="Source of the median: the network, or the last price if the network's median showed no skill."
    )
    offsets: list[list[float]] = Field(
        description="`offsets[h][l]` moves both ends of the interval of level `l` at horizon `h + 1` outward; "
        "a negative offset moves them inward."
    )


class TrainingRange(FrozenSchema):
    """The range of one quantity in the training block.

    A forecast from outside it is an extrapolation and carries a warning. `volatility` is per step, in log returns.
    `last step` is the window's last log return divided by its volatility.
    """

    quantity: Quantity
    low: float
    high: float


class Instrument(FrozenSchema):
    """One price series that the model was trained or evaluated on."""

    name: str
    source: str
    rows: int
    first_date: date | None
    last_date: date | None
    sha256: Sha256


class GoldenForecasts(FrozenSchema):
    """Windows and the forecasts published for them. A loaded artifact must reproduce these forecasts."""

    windows: list[list[float]] = Field(description="(G, W) prices.")
    forecasts: list[list[list[float]]] = Field(description="(G, H, Q) prices.")


class FileDigest(FrozenSchema):
    """Checksum and size of one file of the artifact."""

    sha256: Sha256
    size_bytes: int = Field(ge=0)


class ManifestDraft(FrozenSchema):
    """The part of a manifest that training writes. Publishing adds name, version, creation time and file digests."""

    window: int = Field(ge=2)
    horizon: int = Field(ge=1)
    levels: Levels
    transform: TransformParameters
    network: NetworkSummary
    calibration: Calibration
    training_ranges: list[TrainingRange]
    recipe: dict[str, Any]
    data: list[Instrument]
    evidence: Evidence
    curve: Curve | None = Field(None, description="Training and validation loss by epoch; null if not recorded.")
    libraries: dict[str, str]
    golden: GoldenForecasts

    @property
    def quantiles(self) -> list[float]:
        """The Q probabilities of the network's outputs, in increasing order."""
        return quantile_probabilities(self.levels)

    @model_validator(mode="after")
    def _check_shapes(self) -> Self:
        offsets = self.calibration.offsets
        if len(offsets) != self.horizon or any(len(row) != len(self.levels) for row in offsets):
            raise ValueError(f"calibration.offsets must be {self.horizon} rows of {len(self.levels)}")
        if not self.golden.windows or len(self.golden.windows) != len(self.golden.forecasts):
            raise ValueError("golden must have as many forecasts as windows, and at least one")
        if any(len(window) != self.window for window in self.golden.windows):
            raise ValueError(f"every golden window must have {self.window} prices")
        shape = (self.horizon, len(self.quantiles))
        if any((len(f), {len(row) for row in f}) != (shape[0], {shape[1]}) for f in self.golden.forecasts):
            raise ValueError(f"every golden forecast must be {shape[0]} rows of {shape[1]}")
        return self


class ArtifactIdentity(FrozenSchema):
    """The fields that identify an artifact."""

    format_version: Literal[1] = 1
    name: ModelName
    version: Version
    created: datetime


class Manifest(ManifestDraft, ArtifactIdentity):  # pydantic writes the fields of the last base class first
    """A complete manifest, as in `manifest.json`."""

    files: dict[FileName, FileDigest]

    @model_validator(mode="after")
    def _check_files(self) -> Self:
        missing = {"model.keras", "model.onnx", "scaler.joblib"} - self.files.keys()
        if missing:
            raise ValueError(f"files must name {', '.join(sorted(missing))}")
        return self
