"""The application in this process: real routes and real models, without a socket."""

import asyncio
import io
import json
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx
from starlette.types import ASGIApp, Message

from app.api.schemas import EXAMPLE_PRICES
from app.artifact import store
from app.main import Application, create_app
from app.settings import Settings
from tests.conftest import MODELS, version_of
from tests.metrics_text import parse_metrics
from tests.prices import PRICES

MAX_HORIZON = store.read_version(MODELS, "default", version_of("default")).manifest.horizon
EXAMPLE_WINDOW: list[float] = [float(str(price)) for price in EXAMPLE_PRICES]  # of the OpenAPI document
JSON_HEADERS = {"content-type": "application/json"}


class AppClient:
    """Sends requests to a running application, on its event loop."""

    def __init__(self, app: Application, loop: asyncio.AbstractEventLoop) -> None:
        self.app = app
        self._loop = loop
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        self._client = httpx.AsyncClient(transport=transport, base_url="http://test")

    def request(self, method: str, path: str, **kwargs: Any) -> httpx.Response:
        return self.run(lambda http: http.request(method, path, **kwargs))  # type: ignore[no-any-return]  # `run` returns what the function returns

    def get(self, path: str, **kwargs: Any) -> httpx.Response:
        return self.request("GET", path, **kwargs)

    def post(self, path: str, **kwargs: Any) -> httpx.Response:
        return self.request("POST", path, **kwargs)

    def run(self, function: Callable[[httpx.AsyncClient], Coroutine[Any, Any, Any]]) -> Any:
        """Run an async function on the event loop of the application and return its result."""
        return self._loop.run_until_complete(function(self._client))

    def metrics(self) -> dict[str, float]:
        """Return all metric samples, by name and labels as in the text format."""
        return parse_metrics(self.app.lifecycle.metrics.exposition().decode())

    def capture_request_log(self, function: Callable[[], object]) -> list[dict[str, Any]]:
        """Call the function and return the lines its requests add to the request log."""
        log = self.app.lifecycle.request_log
        assert log is not None
        log.flush()
        original_stream, log._stream = log._stream, io.StringIO()
        try:
            function()
            log.flush()
            return [json.loads(line) for line in log._stream.getvalue().splitlines()]
        finally:
            log._stream = original_stream


@contextmanager
def running_app(settings: Settings, on_version_selected: Callable[[], None] = lambda: None) -> Iterator[AppClient]:
    """Start the application, yield a client, and shut the application down."""
    app = create_app(settings, on_version_selected)
    with asyncio.Runner() as runner:
        lifespan = app.fastapi.router.lifespan_context(app.fastapi)
        runner.run(_enter(lifespan))
        try:
            yield AppClient(app, runner.get_loop())
        finally:
            runner.run(_exit(lifespan))


async def _enter(lifespan: Any) -> None:
    await lifespan.__aenter__()


async def _exit(lifespan: Any) -> None:
    await lifespan.__aexit__(None, None, None)


async def send_messages(
    app: ASGIApp, messages: Iterable[Message | Awaitable[Message]], headers: Mapping[str, str] | None = None
) -> list[Message]:
    """Send a POST to /predict as these ASGI messages and return the messages of the response.

    After the last message, the client stays connected and sends nothing more.
    """
    remaining = iter(messages)
    responses: list[Message] = []

    async def receive() -> Message:
        message = next(remaining, None)
        if message is None:
            await asyncio.get_running_loop().create_future()
            raise AssertionError("unreachable: the future never completes")
        return message if isinstance(message, dict) else await message  # type: ignore[misc]  # a Message is a dict

    async def send(message: Message) -> None:
        responses.append(message)

    raw_headers = [
        (name.lower().encode(), value.encode()) for name, value in (JSON_HEADERS | dict(headers or {})).items()
    ]
    await app({"type": "http", "method": "POST", "path": "/predict", "headers": raw_headers}, receive, send)
    return responses


def batch_body(count: int, first_price: float = 50.0) -> dict[str, Any]:
    """Build the body of a batch request with `count` different windows."""
    return {"series": [{"prices": [first_price + i, *PRICES[1:]]} for i in range(count)]}
