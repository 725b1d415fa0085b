"""Request and response schemas of the REST API, as the OpenAPI document shows them."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from app.artifact.evidence import Curve, Evidence
from app.artifact.manifest import Calibration, Instrument, NetworkSummary, TrainingRange, TransformParameters, Version
from app.inference.input_checks import WarningCode

MAX_SERIES_PRICES = 4096

# A noisy upward trend of 60 prices that every shipped model accepts.
EXAMPLE_PRICES: list[JsonValue] = [
    101.2, 101.9, 101.4, 102.3, 102.0, 102.8, 103.1, 102.5, 103.4, 103.9, 103.2, 104.1, 104.6, 104.0, 104.9,
    105.3, 104.7, 105.6, 106.1, 105.4, 106.2, 106.8, 106.1, 107.0, 107.4, 106.9, 107.7, 108.2, 107.5, 108.4,
    108.9, 108.1, 109.0, 109.6, 108.8, 109.7, 110.1, 109.5, 110.4, 110.8, 110.2, 111.1, 111.5, 110.8, 111.7,
    112.2, 111.6, 112.4, 112.9, 112.2, 113.1, 113.6, 112.9, 113.8, 114.2, 113.5, 114.4, 114.9, 114.2, 115.1,
]  # fmt: skip


class StrictModel(BaseModel):
    """Base of request bodies: rejects unknown fields and does not convert types, such as strings to numbers."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


Prices = Annotated[
    list[Annotated[float, Field(allow_inf_nan=False)]],
    Field(
        min_length=2,
        max_length=MAX_SERIES_PRICES,
        fail_fast=True,
        description="Prices in any unit, oldest first. The forecast uses the last 60 (the model's window).",
    ),
]
Horizon = Annotated[
    int, Field(ge=1, description="Number of steps to forecast. `GET /models/{name}` returns the model's maximum.")
]
Levels = Annotated[
    tuple[Annotated[int, Field(ge=1, le=99)], ...],
    Field(
        max_length=99,
        fail_fast=True,
        description="Coverage of the prediction intervals to return, in percent. By default, none are returned. "
        "`GET /models/{name}` lists the model's levels.",
    ),
]
ModelReference = Annotated[
    str,
    Field(
        pattern=r"^[a-z0-9][a-z0-9_-]{0,63}(@[1-9][0-9]{0,8})?$",
        description="Model to use, as `name` or `name@version`. Without it, the server's default model is used.",
    ),
]


class PredictRequest(StrictModel):
    """A price series to forecast."""

    prices: Prices
    horizon: Horizon = 1
    levels: Levels = ()  # a tuple, because pydantic copies a list default for every request
    model: ModelReference | None = None

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"prices": EXAMPLE_PRICES, "horizon": 5, "levels": [80, 95]}]}
    )


class BatchSeries(StrictModel):
    """One price series of a batch."""

    id: str | None = Field(
        default=None,
        min_length=1,
        max_length=128,
        description="Identifier of your choice, unique within the request and returned with the forecast.",
    )
    prices: Prices


class BatchRequest(StrictModel):
    """Price series to forecast in one request."""

    series: list[BatchSeries] = Field(
        min_length=1,
        fail_fast=True,  # batch_field_errors() collects the errors of the other series
        description="Series to forecast. The server setting `PRICECAST_MAX_REQUEST_WINDOWS` limits their number.",
    )
    horizon: Horizon = 1
    levels: Levels = ()  # a tuple, because pydantic copies a list default for every request
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
    """Central prediction interval of one level."""

    lower: list[float] = Field(description="Lower bounds, one price per step ahead.")
    upper: list[float] = Field(description="Upper bounds, one price per step ahead.")


class InputWarning(BaseModel):
    """A property of the window that makes its forecast less reliable than the model's evidence suggests."""

    code: WarningCode = Field(
        description="Stable warning code. "
        "`outside_training_range`: the volatility, the last step or the prices are outside the training data's range. "
        "`constant_window`: all prices in the window are equal. "
        "`stale_tail`: the last five or more prices are equal. "
        "`likely_split`: a price jumps by a simple ratio, as after a stock split."
    )
    detail: str = Field(description="What was found, and where in the window.")


class Forecast(BaseModel):
    """Forecast of one series."""

    forecast: list[float] = Field(description="Median forecast, one price per step ahead, in the unit of the input.")
    intervals: dict[str, Interval] | None = Field(
        default=None, description="Prediction intervals by level. Absent if no levels were requested."
    )
    warnings: list[InputWarning] = Field(description="Reasons to trust this forecast less than the evidence suggests.")


class ModelVersion(BaseModel):
    """The model version that computed a forecast."""

    name: str
    version: str


class PredictResponse(Forecast):
    """Forecast of one series, with the model version that computed it."""

    model: ModelVersion


class SeriesForecast(Forecast):
    """Forecast of one series of a batch."""

    id: str | None = Field(default=None, description="The `id` of the series. Absent if the request had none.")


class BatchResponse(BaseModel):
    """Forecasts of a batch, all computed by the same model version."""

    forecasts: list[SeriesForecast] = Field(description="One forecast per series, in request order.")
    model: ModelVersion


class ModelSummary(BaseModel):
    """A served model version and the main figures of its evidence."""

    name: str
    version: str = Field(description="The version described here. In lists, the live version.")
    versions: list[str] = Field(description="All published versions, oldest first.")
    served_versions: list[str] = Field(
        description="Versions loaded by the server, oldest first. Each is available as `name@version`."
    )
    default: bool = Field(description="Whether requests without a `model` use this model.")
    window: int = Field(description="Number of prices the model uses.")
    horizon: int = Field(description="Maximum number of steps ahead.")
    levels: list[int] = Field(description="Levels of the prediction intervals, in percent.")
    point_skill: str = Field(description="Whether the median beats repeating the last price: `none` or `some`.")
    summary: str = Field(description="The main figures of the evidence, in a few sentences.")


class ModelList(BaseModel):
    """All served models."""

    models: list[ModelSummary]
    failures: dict[str, str] = Field(description="Models and versions that failed to load, with the reason.")


class LoadRequest(StrictModel):
    """The version to load."""

    version: Version = Field(description="A published version of the model.")

    model_config = ConfigDict(json_schema_extra={"examples": [{"version": "2"}]})


class ModelDetail(ModelSummary):
    """A model version with its manifest and evidence."""

    failures: dict[str, str] = Field(description="Versions of this model that failed to load, with the reason.")
    created: datetime = Field(description="Time of publication, in UTC.")
    engine: str = Field(description="Engine that executes the network: `onnx` or `keras`.")
    quantiles: list[float] = Field(description="Probabilities of the predicted quantiles, ascending.")
    transform: TransformParameters
    network: NetworkSummary
    calibration: Calibration
    training_ranges: list[TrainingRange]
    data: list[Instrument]
    evidence: Evidence
    curve: Curve | None = Field(description="Training and validation loss by epoch, or null if not recorded.")
    recipe: dict[str, Any] = Field(description="The recipe of the training run.")
    libraries: dict[str, str] = Field(description="Library versions of the training run.")


class Health(BaseModel):
    """Result of a probe."""

    status: str = Field(description="`live` or `ready`.", examples=["ready"])
