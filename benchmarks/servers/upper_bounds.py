"""Servers that forecast nothing: what HTTP alone costs, and what FastAPI adds to it. No forecasting server on the same
stack can do more."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import FastAPI
from pydantic import BaseModel, Field

ANSWER = b'{"forecast":[100.0]}'
HEADERS = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(ANSWER))]

Message = dict[str, Any]


async def bare(
    scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
) -> None:
    """Reads the body and answers a constant: nothing but uvicorn."""
    if scope["type"] != "http":  # uvicorn's lifespan: there is nothing to start, and an exception is the way to say so
        raise NotImplementedError
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": ANSWER})


class PredictRequest(BaseModel):
    prices: Annotated[list[float], Field(min_length=60, max_length=4096)]
    horizon: int = 1


class PredictResponse(BaseModel):
    forecast: list[float]


echo = FastAPI()


@echo.post("/predict")
async def predict(request: PredictRequest) -> PredictResponse:
    """Validates the same body as Pricecast and answers a constant, the way FastAPI's own pages would write it."""
    return PredictResponse(forecast=[100.0])
