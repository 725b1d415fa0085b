"""The `batched` library in a FastAPI endpoint."""

from typing import Annotated

import batched
from fastapi import FastAPI
from pydantic import BaseModel, Field

from benchmarks.servers.peers.network import Network
from benchmarks.servers.peers.tuning import Tuning

TUNING = Tuning.told()

Window = Annotated[list[float], Field(min_length=60, max_length=60)]

network = Network(TUNING.threads)
app = FastAPI()


class Asked(BaseModel):
    windows: list[Window]


class Answered(BaseModel):
    forecasts: list[float]


@batched.aio.dynamically(batch_size=TUNING.batch, timeout_ms=TUNING.wait_ms, small_batch_threshold=TUNING.batch)
def forecasts_of(windows: list[list[float]]) -> list[float]:
    return network(windows).tolist()


@app.post("/predict")
async def predict(asked: Asked) -> Answered:
    return Answered(forecasts=await forecasts_of(asked.windows))
