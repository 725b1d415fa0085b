"""The manifest: the JSON contract that makes a directory of files an artifact."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from app.artifact.evidence import Curve, Evidence
from app.artifact.frozen_model import FrozenModel as FrozenModel

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")]
Level = Annotated[int, Field(ge=1, le=99)]
ModelName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]
Version = Annotated[str, Field(pattern=r"^[1-9][0-9]{0,8}$")]


Quantity = Literal["price", "volatility", "last step"]


def _rising(levels: list[int]) -> list[int]:
    if sorted(set(levels)) != levels:
        raise ValueError("levels must rise and not repeat")
    return levels


Levels = Annotated[list[Level], AfterValidator(_rising)]


def quantiles_of(levels: Sequence[int]) -> list[float]:
    """The Q quantile probabilities that intervals of these levels need, rising; the median is always among them."""
    tails = [0.5 - level / 200 for level in levels]
    return sorted({0.5, *tails, *(1 - tail for tail in tails)})


def columns_of(level: int, levels: Sequence[int]) -> tuple[int, int]:
    """Where among the Q quantiles of rising `levels` the lower and the upper end of one interval stand.

    The median is in the middle, at len(levels); wider levels lie further out.
    """
    outwards = list(levels).index(level) + 1
    return len(levels) - outwards, len(levels) + outwards


class LogReturnTransform(FrozenModel):
    """Log returns over the window's own volatility; see `transform.LogReturn`."""

    kind: Literal["log_return"] = "log_return"
    decay: float = Field(0.94, gt=0, lt=1, description="weight of a return relative to the one after it")
    winsor: float = Field(8.0, gt=1, description="a return counts for at most this many mean absolute returns")
    floor: float = Field(1e-6, gt=0, description="the least volatility per step")
    clip: float = Field(10.0, gt=0, description="network inputs lie within ± this")
    level: bool = Field(False, description="whether the network sees the window's volatility beside its log returns")


class MinMaxPriceTransform(FrozenModel):
    """Price levels, scaled to (0, 1) on the training block; see `transform.MinMaxPrice`."""

    kind: Literal["minmax_price"] = "minmax_price"


TransformParameters = Annotated[LogReturnTransform | MinMaxPriceTransform, Field(discriminator="kind")]


class Network(FrozenModel):
    """What the network is, for people; `model.keras` is the network itself."""

    structure: str
    cell: str
    units: list[int]
    head: int = Field(0, description="units of the rectified dense layer before the outputs; 0 has none")
    parameters: int = Field(gt=0)


class Calibration(FrozenModel):
    """What is added to the network's quantiles, in the network's output units, before they become prices.

    `center` says where the median comes from: the network, or the last price where the network's median showed no
    skill. `offsets[h][l]` widens (or, negative, narrows) the interval of level `l` at horizon `h + 1` on both sides.
    """

    center: Literal["network", "last_price"]
    offsets: list[list[float]]


class Range(FrozenModel):
    """What the training block covered: forecasts outside it are extrapolations, and carry a warning.

    A `last step` is the window's last log return, over its volatility.
    """

    quantity: Quantity
    low: float
    high: float


class Instrument(FrozenModel):
    name: str
    source: str
    rows: int
    first_date: date | None
    last_date: date | None
    sha256: Digest


class Golden(FrozenModel):
    """Windows and the forecasts published for them: a loaded artifact must say the same again."""

    windows: list[list[float]]
    forecasts: list[list[list[float]]]


class File(FrozenModel):
    sha256: Digest
    size_bytes: int = Field(ge=0)


class Draft(FrozenModel):
    """All that training has to say; publishing adds name, version, date and digests."""

    window: int = Field(ge=2)
    horizon: int = Field(ge=1)
    levels: Levels
    transform: TransformParameters
    network: Network
    calibration: Calibration
    training_ranges: list[Range]
    recipe: dict[str, Any]
    data: list[Instrument]
    evidence: Evidence
    curve: Curve | None = Field(None, description="how the training went, where that is known")
    libraries: dict[str, str]
    golden: Golden

    @property
    def quantiles(self) -> list[float]:
        """The Q probabilities of the outputs, rising."""
        return quantiles_of(self.levels)

    @model_validator(mode="after")
    def _shapes_agree(self) -> Self:
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


class Identity(FrozenModel):
    format_version: Literal[1] = 1
    name: ModelName
    version: Version
    created: datetime


class Manifest(Draft, Identity):  # in this order: pydantic writes the fields of the last base first
    files: dict[FileName, File]

    @model_validator(mode="after")
    def _files_complete(self) -> Self:
        missing = {"model.keras", "model.onnx", "scaler.joblib"} - self.files.keys()
        if missing:
            raise ValueError(f"files must name {', '.join(sorted(missing))}")
        return self
