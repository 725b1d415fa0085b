"""A plain FastAPI endpoint: each request is one call of the network, with one window or with several."""

from typing import Annotated

from fastapi import FastAPI
from pydantic import BaseModel, Field

from benchmarks.servers.peers.network import Network
from benchmarks.servers.peers.tuning import Tuning

Window = Annotated[list[float], Field(min_length=60, max_length=60)]

network = Network(Tuning.from_env().threads)
app = FastAPI()


class ForecastRequest(BaseModel):
    """One window."""

    prices: Window


class ForecastResponse(BaseModel):
    """Its forecast, as a list of one number."""

    forecast: list[float]


class BatchRequest(BaseModel):
    """Several windows."""

    windows: list[Window]


class BatchResponse(BaseModel):
    """One forecast for each window."""

    forecasts: list[float]


@app.post("/predict")
def predict(request: ForecastRequest) -> ForecastResponse:
    """Forecast one window."""
    return ForecastResponse(forecast=network([request.prices]).tolist())


@app.post("/predict/batch")
def predict_batch(request: BatchRequest) -> BatchResponse:
    """Forecast several windows in one call of the network."""
    return BatchResponse(forecasts=network(request.windows).tolist())
