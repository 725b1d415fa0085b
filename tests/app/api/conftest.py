"""The application in this process: real routes, real models, no socket."""

import asyncio
import io
import json
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.types import ASGIApp, Message

from app.main import Application, create_app
from app.settings import Settings

Call = Callable[[httpx.AsyncClient], Coroutine[Any, Any, Any]]


class Client:
    """Sends requests to an application that has started, on one event loop."""

    def __init__(self, app: Application, loop: asyncio.AbstractEventLoop) -> None:
        self.app = app
        self._loop = loop
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        self._client = httpx.AsyncClient(transport=transport, base_url="http://test")

    def request(self, method: str, path: str, **how: Any) -> httpx.Response:
        return self.run(lambda client: client.request(method, path, **how))  # type: ignore[no-any-return]  # `run` returns what its argument does

    def get(self, path: str, **how: Any) -> httpx.Response:
        return self.request("GET", path, **how)

    def post(self, path: str, **how: Any) -> httpx.Response:
        return self.request("POST", path, **how)

    def run(self, call: Call) -> Any:
        return self._loop.run_until_complete(call(self._client))

    def metrics(self) -> dict[str, float]:
        """Every sample, by its name and labels as in the text format."""
        lines = self.app.lifecycle.metrics.exposition().decode().splitlines()
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")}

    def logged(self, call: Callable[[], object]) -> list[dict[str, Any]]:
        """The lines that the requests of `call` leave in the log."""
        log = self.app.lifecycle.request_log
        assert log is not None
        log.flush()
        usual, log._stream = log._stream, io.StringIO()
        try:
            call()
            log.flush()
            return [json.loads(line) for line in log._stream.getvalue().splitlines()]
        finally:
            log._stream = usual


async def exchange(
    app: ASGIApp, messages: Iterable[Message | Awaitable[Message]], headers: Mapping[str, str] | None = None
) -> list[Message]:
    """What is sent back to a POST to /predict that comes in these messages; then the client waits, and stays."""
    coming = iter(messages)
    sent: list[Message] = []

    async def receive() -> Message:
        message = next(coming, None)
        if message is None:
            await asyncio.get_running_loop().create_future()
            raise AssertionError("it waits for ever")
        return message if isinstance(message, dict) else await message  # type: ignore[misc]  # a Message is a dict

    async def send(message: Message) -> None:
        sent.append(message)

    named = {"content-type": "application/json"} | dict(headers or {})
    raw = [(name.lower().encode(), value.encode()) for name, value in named.items()]
    await app({"type": "http", "method": "POST", "path": "/predict", "headers": raw}, receive, send)
    return sent


@pytest.fixture(scope="module")
def client(shipped: Path) -> Iterator[Client]:
    """The shipped models with the default settings, but for a body limit that tests can reach."""
    yield from start(Settings(models_dir=shipped, max_body_bytes=2**20, max_request_windows=300))


def start(settings: Settings, on_version_selected: Callable[[], None] = lambda: None) -> Iterator[Client]:
    app = create_app(settings, on_version_selected)
    with asyncio.Runner() as runner:
        lifespan = app.fastapi.router.lifespan_context(app.fastapi)
        runner.run(_enter(lifespan))
        try:
            yield Client(app, runner.get_loop())
        finally:
            runner.run(_leave(lifespan))


async def _enter(lifespan: Any) -> None:
    await lifespan.__aenter__()


async def _leave(lifespan: Any) -> None:
    await lifespan.__aexit__(None, None, None)
