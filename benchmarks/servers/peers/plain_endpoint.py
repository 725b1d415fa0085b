"""A plain FastAPI endpoint: one window, one call of the network. Nothing is batched, but a request may hold many."""

from typing import Annotated

from fastapi import FastAPI
from pydantic import BaseModel, Field

from benchmarks.servers.peers.network import Network
from benchmarks.servers.peers.tuning import Tuning

Window = Annotated[list[float], Field(min_length=60, max_length=60)]

network = Network(Tuning.told().threads)
app = FastAPI()


class Asked(BaseModel):
    prices: Window


class Answered(BaseModel):
    forecast: list[float]


class ManyAsked(BaseModel):
    windows: list[Window]


class ManyAnswered(BaseModel):
    forecasts: list[float]


@app.post("/predict")
def predict(asked: Asked) -> Answered:
    return Answered(forecast=network([asked.prices]).tolist())


@app.post("/predict/batch")
def predict_many(asked: ManyAsked) -> ManyAnswered:
    return ManyAnswered(forecasts=network(asked.windows).tolist())
