"""Servers that return a constant response. Their throughput is an upper bound for any server on the same stack.

`bare` shows the cost of HTTP alone, and `echo` the additional cost of FastAPI.
"""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import FastAPI
from pydantic import BaseModel, Field

RESPONSE_BODY = b'{"forecast":[100.0]}'
HEADERS = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(RESPONSE_BODY))]

Message = dict[str, Any]


async def bare(
    scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
) -> None:
    """Read the body and return a constant response. An ASGI application without a framework."""
    if scope["type"] != "http":  # raising tells uvicorn that the application does not support lifespan events
        raise NotImplementedError
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": RESPONSE_BODY})


class PredictRequest(BaseModel):
    """The same fields and limits as Pricecast's request."""

    prices: Annotated[list[float], Field(min_length=60, max_length=4096)]
    horizon: int = 1


class PredictResponse(BaseModel):
    """A response with one forecast."""

    forecast: list[float]


echo = FastAPI()


@echo.post("/predict")
async def predict(request: PredictRequest) -> PredictResponse:
    """Validate the body and return a constant response, written as in FastAPI's documentation."""
    return PredictResponse(forecast=[100.0])
