"""Bodies of requests and answers, as the OpenAPI document shows them."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from app.artifact.evidence import Curve, Evidence
from app.artifact.manifest import Calibration, Instrument, NetworkSummary, TrainingRange, TransformParameters, Version
from app.inference.input_checks import WarningCode

LONGEST_SERIES = 4096

# A gentle climb with some noise: sixty prices that every model here can take.
EXAMPLE_PRICES: list[JsonValue] = [
    101.2, 101.9, 101.4, 102.3, 102.0, 102.8, 103.1, 102.5, 103.4, 103.9, 103.2, 104.1, 104.6, 104.0, 104.9,
    105.3, 104.7, 105.6, 106.1, 105.4, 106.2, 106.8, 106.1, 107.0, 107.4, 106.9, 107.7, 108.2, 107.5, 108.4,
    108.9, 108.1, 109.0, 109.6, 108.8, 109.7, 110.1, 109.5, 110.4, 110.8, 110.2, 111.1, 111.5, 110.8, 111.7,
    112.2, 111.6, 112.4, 112.9, 112.2, 113.1, 113.6, 112.9, 113.8, 114.2, 113.5, 114.4, 114.9, 114.2, 115.1,
]  # fmt: skip


class Body(BaseModel):
    """Exactly the fields named, of exactly the types named: a string is not a number, nor is true."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


Prices = Annotated[
    list[Annotated[float, Field(allow_inf_nan=False)]],
    Field(
        min_length=2,
        max_length=LONGEST_SERIES,
        fail_fast=True,
        description="prices, oldest first; the last 60 (the model's window) are used",
    ),
]
Horizon = Annotated[int, Field(ge=1, description="how many steps ahead; the model's manifest says how far it goes")]
Levels = Annotated[
    tuple[Annotated[int, Field(ge=1, le=99)], ...],
    Field(
        max_length=99,
        fail_fast=True,
        description="central intervals wanted, by coverage in percent; the model's manifest lists them",
    ),
]
ModelReference = Annotated[
    str,
    Field(
        pattern=r"^[a-z0-9][a-z0-9_-]{0,63}(@[1-9][0-9]{0,8})?$",
        description="`name` or `name@version`; the default model unless given",
    ),
]


class PredictRequest(Body):
    prices: Prices
    horizon: Horizon = 1
    levels: Levels = ()  # not a list, of which every request would get a copy
    model: ModelReference | None = None

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"prices": EXAMPLE_PRICES, "horizon": 5, "levels": [80, 95]}]}
    )


class Series(Body):
    id: str | None = Field(default=None, min_length=1, max_length=128, description="your name for it, returned with it")
    prices: Prices


class BatchRequest(Body):
    series: list[Series] = Field(
        min_length=1,
        fail_fast=True,  # all that are bad are looked for when one is
        description="the server's limit is its setting max_request_windows",
    )
    horizon: Horizon = 1
    levels: Levels = ()  # not a list, of which every request would get a copy
    model: ModelReference | None = None

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "series": [
                        {"id": "UP", "prices": EXAMPLE_PRICES},
                        {"id": "DOWN", "prices": EXAMPLE_PRICES[::-1]},
                    ],
                    "horizon": 2,
                    "levels": [80],
                }
            ]
        }
    )


class Interval(BaseModel):
    lower: list[float] = Field(description="one price per step ahead")
    upper: list[float]


class WarningBody(BaseModel):
    code: WarningCode = Field(
        description="`outside_training_range`: volatility, last step or prices are unlike all that was trained on; "
        "`constant_window`: all prices are equal; `stale_tail`: the last five or more are; "
        "`likely_split`: a jump by a simple ratio, as after a stock split"
    )
    detail: str = Field(description="what was seen, and where")


class Forecast(BaseModel):
    forecast: list[float] = Field(description="the median, one price per step ahead")
    intervals: dict[str, Interval] | None = Field(default=None, description="by level; absent unless asked for")
    warnings: list[WarningBody] = Field(description="what makes this forecast less trustworthy than the evidence says")


class ModelVersion(BaseModel):
    name: str
    version: str


class PredictResponse(Forecast):
    model: ModelVersion


class SeriesForecast(Forecast):
    id: str | None = Field(default=None, description="as sent; absent where none was")


class BatchResponse(BaseModel):
    forecasts: list[SeriesForecast] = Field(description="in the order of the series")
    model: ModelVersion


class ModelSummary(BaseModel):
    name: str
    version: str = Field(description="the version that this is about; in lists, the live one")
    versions: list[str] = Field(description="the versions published, oldest first")
    served_versions: list[str] = Field(description="those of them that are served: each answers as `name@version`")
    default: bool = Field(description="whether requests that name no model get this one")
    window: int
    horizon: int
    levels: list[int]
    point_skill: str = Field(description="whether the median beats repeating the last price: `none` or `some`")
    summary: str = Field(description="the evidence in a sentence")


class ModelList(BaseModel):
    models: list[ModelSummary]
    failures: dict[str, str] = Field(description="models and versions that could not be loaded, and why")


class LoadRequest(Body):
    version: Version = Field(description="a published version")

    model_config = ConfigDict(json_schema_extra={"examples": [{"version": "2"}]})


class ModelDetail(ModelSummary):
    failures: dict[str, str] = Field(description="versions of this model that could not be loaded, and why")
    created: datetime
    engine: str
    quantiles: list[float]
    transform: TransformParameters
    network: NetworkSummary
    calibration: Calibration
    training_ranges: list[TrainingRange]
    data: list[Instrument]
    evidence: Evidence
    curve: Curve | None = Field(description="loss by epoch; null where it is not known")
    recipe: dict[str, Any]
    libraries: dict[str, str]


class Health(BaseModel):
    status: str = Field(examples=["ready"])
