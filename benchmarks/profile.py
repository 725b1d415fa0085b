"""`python -m benchmarks.profile`: where each microsecond of a request goes, in one process, without a network.

Bytes of real requests are handed to uvicorn's own HTTP protocol, in front of ever more of the application: what a
stage takes more than the one before it is what its part costs.
"""

import argparse
import asyncio
import gc
import json
import os
import statistics
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
import uvloop
from fastapi import APIRouter, FastAPI, Request, Response
from pydantic_core import to_json
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.server import ServerState

from app.api import predict
from app.api.middleware.fast_path import FastPathMiddleware
from app.api.middleware.request_context import RequestContextMiddleware
from app.api.pipeline import RequestPipeline
from app.api.request_body import RequestBodyReader
from app.api.timeouts import TimeoutScheduler
from app.artifact.manifest import Manifest
from app.inference.forecaster import Forecaster, WindowForecast
from app.main import create_app
from app.observability.logs import RequestLog
from app.observability.metrics import Metrics
from app.server.http_protocol import HttpProtocol
from app.server.uvicorn_server import SWITCH_INTERVAL_S
from app.serving.batcher import Batcher
from app.serving.model_runner import ModelRegistry
from app.serving.registry import Registry
from app.settings import Settings
from benchmarks.windows import WINDOW, random_walks

MODEL = "tutorial"
BODIES = 1024
CONSTANT = {"forecast": [1.0], "warnings": [], "model": {"name": MODEL, "version": "1"}}


class Wire(asyncio.Transport):
    """What uvicorn takes for a connection; `answered` is set when an answer has been written."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.answered: asyncio.Future[None]

    def write(self, data: bytes) -> None:  # type: ignore[override]  # uvicorn writes bytes only
        self.written.append(data)
        self.answered.set_result(None)

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        """uvicorn's time for an idle connection is over."""

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


class Connection:
    """One client that asks again when it has been answered."""

    def __init__(self, config: uvicorn.Config, requests: list[bytes]) -> None:
        self._wire = Wire()
        self._protocol = HttpProtocol(config, ServerState(), {})
        self._protocol.connection_made(self._wire)
        self._requests = requests

    async def ask(self, times: int) -> None:
        loop = asyncio.get_running_loop()
        for i in range(times):
            self._wire.written.clear()
            self._wire.answered = loop.create_future()
            self._protocol.data_received(self._requests[i % len(self._requests)])
            await self._wire.answered
            assert self._wire.written[0].startswith(b"HTTP/1.1 200"), self._wire.written


def requests() -> list[bytes]:
    """Requests of which no two hold the same window."""
    found = []
    for row in random_walks(BODIES, WINDOW).tolist():
        body = json.dumps({"prices": row, "model": MODEL}).encode()
        head = "POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        found.append(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    return found


async def constant(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    body = to_json(CONSTANT)
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def constant_operation() -> APIRouter:
    routes = APIRouter()
    bodies = RequestBodyReader(2**20, 10.0, TimeoutScheduler())

    @routes.post("/predict")
    async def operation(request: Request) -> Response:
        await bodies.read(request, dict(request.scope["headers"]))
        return Response(to_json(CONSTANT), media_type="application/json")

    return routes


def in_scope(app: ASGIApp) -> ASGIApp:
    return RequestContextMiddleware(app, Metrics(), RequestLog(Path(os.devnull).open("w")))


@asynccontextmanager
async def bare() -> AsyncIterator[ASGIApp]:
    yield constant


@asynccontextmanager
async def counted() -> AsyncIterator[ASGIApp]:
    yield RequestContextMiddleware(constant, Metrics(), None)


@asynccontextmanager
async def logged() -> AsyncIterator[ASGIApp]:
    yield in_scope(constant)


@asynccontextmanager
async def express() -> AsyncIterator[ASGIApp]:
    yield in_scope(FastPathMiddleware(constant, constant_operation().routes))


@asynccontextmanager
async def through_fastapi() -> AsyncIterator[ASGIApp]:
    app = FastAPI()
    app.include_router(constant_operation())
    yield in_scope(app)


@asynccontextmanager
async def without_network(settings: Settings) -> AsyncIterator[ASGIApp]:
    """Everything but the engine call: the batcher is answered at once."""

    answer = WindowForecast(np.ones((1, 1)), ())

    async def call(windows: list[bytes]) -> list[WindowForecast]:
        return [answer] * len(windows)

    def run(manifest: Manifest, forecaster: Forecaster) -> Any:  # a batcher alone can all that a route asks of a runner
        return Batcher(call, concurrent_calls=2, max_batch_windows=64, max_queued_windows=8192)

    registry: ModelRegistry = Registry(settings.models_dir, settings.default_model, "onnx", run)
    await registry.refresh()
    ticker = TimeoutScheduler()
    bodies = RequestBodyReader(settings.max_body_bytes, settings.deadline_s, ticker)
    pipeline = RequestPipeline(registry, bodies, ticker, settings.deadline_s, lambda code: None)
    routes = predict.router(registry, pipeline, settings).routes
    yield in_scope(FastPathMiddleware(constant, routes))


@asynccontextmanager
async def everything(settings: Settings) -> AsyncIterator[ASGIApp]:
    app = create_app(settings)
    async with app.fastapi.router.lifespan_context(app.fastapi):
        yield app


async def measure(connections: list[int], rounds: int, times: int) -> dict[str, dict[int, list[float]]]:
    """Microseconds a request, by stage and number of connections, one value a round."""
    settings = Settings(models_dir=Path(__file__).parent.parent / "models")
    stages: dict[str, Callable[[], AbstractAsyncContextManager[ASGIApp]]] = {
        "uvicorn: parse, task, write": bare,
        "+ request id and metrics": counted,
        "+ a line in the log": logged,
        "+ express lane, body, answer": express,
        "  (the same through FastAPI's layers)": through_fastapi,
        "+ validation, window, batcher, JSON": partial(without_network, settings),
        "+ thread, transform, network": partial(everything, settings),
    }
    pool = requests()
    found: dict[str, dict[int, list[float]]] = {name: {n: [] for n in connections} for name in stages}
    async with AsyncExitStack() as stack:
        configs = {}
        for name, stage in stages.items():
            app = await stack.enter_async_context(stage())
            configs[name] = uvicorn.Config(
                app, access_log=False, server_header=False, log_config=None, proxy_headers=False, lifespan="off"
            )
            configs[name].load()
        gc.collect()
        gc.freeze()
        for _ in range(rounds):
            for name, config in configs.items():
                for n in connections:
                    share = len(pool) // n
                    clients = [Connection(config, pool[i * share : (i + 1) * share]) for i in range(n)]
                    await asyncio.gather(*(client.ask(2) for client in clients))
                    started = time.perf_counter()
                    await asyncio.gather(*(client.ask(times // n) for client in clients))
                    found[name][n].append((time.perf_counter() - started) / (times // n * n) * 1e6)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--times", type=int, default=2048, help="requests in one measurement")
    options = parser.parse_args()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    connections = [1, 64]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        found = runner.run(measure(connections, options.rounds, options.times))
    heads = "".join(f"{f'{n} connection' + 's' * (n > 1):>32}" for n in connections)
    print(f"{'microseconds a request':40}{heads}\n{'':40}" + f"{'in all':>18}{'of it':>14}" * len(connections))
    before = dict.fromkeys(connections, 0.0)
    for name, by_connections in found.items():
        line = f"{name:40}"
        for n, values in by_connections.items():
            middle = statistics.median(values)
            line += f"{middle:8.1f} ({min(values):.0f}-{max(values):.0f})".rjust(18) + f"{middle - before[n]:+14.1f}"
            if not name.startswith(" "):
                before[n] = middle
        print(line)


if __name__ == "__main__":
    main()
