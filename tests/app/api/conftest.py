"""The application in this process: real routes, real models, no socket."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

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


@pytest.fixture(scope="module")
def client(shipped: Path) -> Iterator[Client]:
    """The shipped models with the default settings, but for a body limit that tests can reach."""
    yield from start(Settings(models_dir=shipped, max_body_bytes=2**20, max_request_windows=300))


def start(settings: Settings) -> Iterator[Client]:
    app = create_app(settings)
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
