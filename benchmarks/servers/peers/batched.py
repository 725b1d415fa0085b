"""A FastAPI endpoint that batches with the library `batched`."""

from typing import Annotated

import batched
from fastapi import FastAPI
from pydantic import BaseModel, Field

from benchmarks.servers.peers.network import Network
from benchmarks.servers.peers.tuning import Tuning

TUNING = Tuning.from_env()

Window = Annotated[list[float], Field(min_length=60, max_length=60)]

network = Network(TUNING.threads)
app = FastAPI()


class ForecastRequest(BaseModel):
    """One or more windows."""

    windows: list[Window]


class ForecastResponse(BaseModel):
    """One forecast for each window."""

    forecasts: list[float]


@batched.aio.dynamically(batch_size=TUNING.batch, timeout_ms=TUNING.wait_ms, small_batch_threshold=TUNING.batch)
def forecast(windows: list[list[float]]) -> list[float]:
    """Forecast a batch of windows from several requests."""
    return network(windows).tolist()


@app.post("/predict")
async def predict(request: ForecastRequest) -> ForecastResponse:
    """Forecast the windows of one request."""
    return ForecastResponse(forecasts=await forecast(request.windows))
