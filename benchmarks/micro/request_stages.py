"""`python -m benchmarks.micro.request_stages`: the time of each stage of a request, in one process, without sockets.

Complete requests are passed to uvicorn's HTTP protocol, in front of more and more of the application. The cost of a
stage is its time minus the time of the stage before.
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
from app.server.uvicorn_server import SWITCH_INTERVAL_S
from app.serving.batcher import Batcher
from app.serving.model_runner import ModelRegistry
from app.serving.registry import Registry
from app.settings import Settings
from benchmarks.micro.in_process_client import InProcessClient
from benchmarks.windows import MODELS, WINDOW, random_walks

MODEL = "tutorial"
BODIES = 1024
CONNECTIONS = (1, 64)
WARM_UP_REQUESTS = 2  # of each connection
CONSTANT = {"forecast": [1.0], "warnings": [], "model": {"name": MODEL, "version": "1"}}
ALTERNATIVE_INDENT = "  "  # marks an alternative stage, which the next stage does not build on

Stage = Callable[[], AbstractAsyncContextManager[ASGIApp]]
Timings = dict[str, dict[int, list[float]]]  # µs per request, by stage and number of connections, one value per round


def encode_requests() -> list[bytes]:
    """Encode complete HTTP requests, each with a different window."""
    requests = []
    for row in random_walks(BODIES, WINDOW).tolist():
        body = json.dumps({"prices": row, "model": MODEL}).encode()
        head = "POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        requests.append(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    return requests


async def constant_app(scope: Scope, receive: Receive, send: Send) -> None:
    """Return a constant response. An ASGI application without a framework."""
    await receive()
    body = to_json(CONSTANT)
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def constant_router() -> APIRouter:
    """Return a router whose operation reads the body and returns a constant response."""
    router = APIRouter()
    bodies = RequestBodyReader(2**20, 10.0, TimeoutScheduler())

    @router.post("/predict")
    async def operation(request: Request) -> Response:
        await bodies.read(request, dict(request.scope["headers"]))
        return Response(to_json(CONSTANT), media_type="application/json")

    return router


def with_request_log(app: ASGIApp) -> ASGIApp:
    """Wrap an application in the request context middleware, with metrics and a log."""
    return RequestContextMiddleware(app, Metrics(), RequestLog(Path(os.devnull).open("w")))


@asynccontextmanager
async def uvicorn_stage() -> AsyncIterator[ASGIApp]:
    """Measure uvicorn alone, without Pricecast."""
    yield constant_app


@asynccontextmanager
async def metrics_stage() -> AsyncIterator[ASGIApp]:
    """Add the request context and metrics."""
    yield RequestContextMiddleware(constant_app, Metrics(), None)


@asynccontextmanager
async def log_stage() -> AsyncIterator[ASGIApp]:
    """Add the log."""
    yield with_request_log(constant_app)


@asynccontextmanager
async def fast_path_stage() -> AsyncIterator[ASGIApp]:
    """Add the fast path and an operation that reads the body."""
    yield with_request_log(FastPathMiddleware(constant_app, constant_router().routes))


@asynccontextmanager
async def fastapi_stage() -> AsyncIterator[ASGIApp]:
    """Use FastAPI's own layers instead of the fast path."""
    app = FastAPI()
    app.include_router(constant_router())
    yield with_request_log(app)


@asynccontextmanager
async def batcher_stage(settings: Settings) -> AsyncIterator[ASGIApp]:
    """Add everything but the engine call: the batcher's calls return at once."""
    forecast = WindowForecast(np.ones((1, 1)), ())

    async def call(windows: list[bytes]) -> list[WindowForecast]:
        return [forecast] * len(windows)

    def run(manifest: Manifest, forecaster: Forecaster) -> Any:  # a batcher has all methods of a runner that are used
        return Batcher(call, concurrent_calls=2, max_batch_windows=64, max_queued_windows=8192)

    registry: ModelRegistry = Registry(settings.models_dir, settings.default_model, "onnx", run)
    await registry.refresh()
    timeouts = TimeoutScheduler()
    bodies = RequestBodyReader(settings.max_body_bytes, settings.deadline_s, timeouts)
    pipeline = RequestPipeline(registry, bodies, timeouts, settings.deadline_s, lambda code: None)
    routes = predict.router(registry, pipeline, settings).routes
    yield with_request_log(FastPathMiddleware(constant_app, routes))


@asynccontextmanager
async def complete_stage(settings: Settings) -> AsyncIterator[ASGIApp]:
    """Use the complete application."""
    app = create_app(settings)
    async with app.fastapi.router.lifespan_context(app.fastapi):
        yield app


async def measure_stages(rounds: int, requests_per_round: int) -> Timings:
    """Measure all stages in interleaved rounds."""
    settings = Settings(models_dir=MODELS)
    stages: dict[str, Stage] = {
        "uvicorn: parse, task, write": uvicorn_stage,
        "+ request id and metrics": metrics_stage,
        "+ log line": log_stage,
        "+ fast path, body, response": fast_path_stage,
        f"{ALTERNATIVE_INDENT}(the same through FastAPI's layers)": fastapi_stage,
        "+ validation, window, batcher, JSON": partial(batcher_stage, settings),
        "+ thread, transform, network": partial(complete_stage, settings),
    }
    requests = encode_requests()
    timings: Timings = {name: {connections: [] for connections in CONNECTIONS} for name in stages}
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
                for connections in CONNECTIONS:
                    time_us = await measure_us(config, requests, connections, requests_per_round)
                    timings[name][connections].append(time_us)
    return timings


async def measure_us(config: uvicorn.Config, requests: list[bytes], connections: int, count: int) -> float:
    """Measure the time per request of concurrent clients, in µs."""
    share = len(requests) // connections
    clients = [InProcessClient(config, requests[i * share : (i + 1) * share]) for i in range(connections)]
    await asyncio.gather(*(client.send_requests(WARM_UP_REQUESTS) for client in clients))
    started = time.perf_counter()
    await asyncio.gather(*(client.send_requests(count // connections) for client in clients))
    return (time.perf_counter() - started) / (count // connections * connections) * 1e6


def format_timings(timings: Timings) -> str:
    """Format a table of medians and ranges, and of differences from stage to stage."""
    heads = "".join(f"{f'{n} connection' + 's' * (n > 1):>32}" for n in CONNECTIONS)
    lines = [f"{'µs per request':40}{heads}", f"{'':40}" + f"{'total':>18}{'stage':>14}" * len(CONNECTIONS)]
    previous = dict.fromkeys(CONNECTIONS, 0.0)
    for name, by_connections in timings.items():
        line = f"{name:40}"
        for connections, values in by_connections.items():
            median = statistics.median(values)
            line += f"{median:8.1f} ({min(values):.0f}-{max(values):.0f})".rjust(18)
            line += f"{median - previous[connections]:+14.1f}"
            if not name.startswith(ALTERNATIVE_INDENT):
                previous[connections] = median
        lines.append(line)
    return "\n".join(lines)


def main() -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="number of rounds (default: 7)")
    parser.add_argument("--times", type=int, default=2048, help="requests in one measurement (default: 2048)")
    options = parser.parse_args()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(format_timings(runner.run(measure_stages(options.rounds, options.times))))


if __name__ == "__main__":
    main()
