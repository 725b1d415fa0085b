"""The express lane says what FastAPI itself would say, and leaves to it what is not its own."""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from app import lifecycle
from app.api import predict
from app.api.middleware.request_context import RequestContextMiddleware
from app.api.middleware.security_headers import SecurityHeadersMiddleware
from app.artifact.transform import F32
from app.inference.engines.select import EngineSelection
from app.inference.forecaster import PreprocessedBatch, Forecaster
from app.main import Application
from app.serving import model_runner
from app.settings import Settings
from tests.app.api.conftest import Client, start

PRICES = [100.0 + i % 7 for i in range(60)]
JSON = {"content-type": "application/json"}


def series(count: int) -> dict[str, Any]:
    return {"series": [{"prices": [50.0 + i, *PRICES[1:]]} for i in range(count)]}


def through(app: Any, client: Client, method: str, path: str, content: bytes) -> tuple[int, dict[str, str], Any]:
    """Status, headers and body of an answer, less what is different each time."""

    async def ask(_: httpx.AsyncClient) -> httpx.Response:
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
            return await http.request(method, path, content=content, headers=JSON)

    response: httpx.Response = client.run(ask)
    different = ("x-request-id", "x-content-type-options")  # what no browser shows needs nothing said of its type
    headers = {name: value for name, value in response.headers.items() if name not in different}
    body = response.json() if "json" in headers.get("content-type", "") else response.text
    if isinstance(body, dict) and body.pop("request_id", None) is not None:
        del headers["content-length"]  # it counts the id
    return response.status_code, headers, body


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/predict", {"prices": PRICES}),
        ("POST", "/predict", {"prices": PRICES, "horizon": 5, "levels": [80, 95]}),
        ("POST", "/predict", {"prices": PRICES, "model": "tutorial"}),
        ("POST", "/predict", {"prices": PRICES, "model": "unknown"}),
        ("POST", "/predict", {"prices": [1, "2"], "horizon": 0}),
        ("POST", "/predict?verbose=1", {"prices": PRICES}),
        ("POST", "/predict/", {"prices": PRICES}),
        ("POST", "/predict/batch", series(3)),
        ("POST", "/predict/batch", series(0)),
        ("GET", "/predict", {}),
        ("PUT", "/predict/batch", {}),
        ("GET", "/health/ready", {}),
        ("GET", "/nowhere", {}),
    ],
)
def test_it_answers_as_fastapi_would(client: Client, method: str, path: str, body: Any) -> None:
    content = json.dumps(body).encode()
    without_it = RequestContextMiddleware(
        SecurityHeadersMiddleware(client.app.fastapi), client.app.lifecycle.metrics, None
    )
    assert through(client.app, client, method, path, content) == through(without_it, client, method, path, content)


@pytest.mark.parametrize("path", ["/predict", "/predict/batch"])
def test_an_error_that_nobody_expected_is_logged_and_tells_nothing(
    client: Client, path: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("secret-4711")

    monkeypatch.setattr(predict, "read_windows", broken)
    response = client.post(path, json={"prices": PRICES} if path == "/predict" else series(1))
    assert (response.status_code, response.json()["type"]) == (500, "urn:pricecast:internal-error")
    assert response.headers.get_list("x-request-id") == [response.json()["request_id"]]
    assert "secret-4711" not in response.text
    assert "secret-4711" in caplog.text
    assert "Traceback" in caplog.text


@pytest.fixture
def watched(shipped: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Client, list[str]]]:
    """A server with a core beside that of the event loop, and the names of the threads that computed."""
    names: list[str] = []
    healthy = Forecaster.infer

    def infer(self: Forecaster, batch: PreprocessedBatch) -> F32:
        names.append(threading.current_thread().name.partition("_")[0])
        return healthy(self, batch)

    monkeypatch.setattr(Forecaster, "infer", infer)
    monkeypatch.setattr("app.inference.engines.onnx._cores", lambda: 2)
    for client in start(Settings(models_dir=shipped)):
        yield client, names


def test_a_lone_window_is_computed_in_the_loop_once_the_model_is_known_to_be_quick(
    watched: tuple[Client, list[str]],
) -> None:
    client, names = watched
    assert client.post("/predict", json={"prices": PRICES}).status_code == 200
    client.app.lifecycle.registry.get().runner.batcher.throughput.windows_per_s = model_runner.INLINE_WINDOWS_PER_S * 2
    assert client.post("/predict", json={"prices": PRICES}).status_code == 200
    assert names == ["engine", threading.current_thread().name.partition("_")[0]]


def test_a_slow_model_never_holds_up_the_loop(watched: tuple[Client, list[str]]) -> None:
    client, names = watched
    for _ in range(3):
        assert client.post("/predict", json={"prices": PRICES}).status_code == 200
        client.app.lifecycle.registry.get().runner.batcher.throughput.windows_per_s = (
            model_runner.INLINE_WINDOWS_PER_S / 2
        )
    assert names == ["engine"] * 3


def test_large_requests_have_all_cores_and_small_ones_leave_one_to_the_loop(watched: tuple[Client, list[str]]) -> None:
    client, names = watched
    assert client.post("/predict/batch", json=series(100)).status_code == 200
    assert set(names) == {"bulk"}
    names.clear()
    assert client.post("/predict/batch", json=series(2)).status_code == 200
    assert set(names) == {"engine"}


@pytest.mark.parametrize(
    ("cores", "settings", "few", "many", "calls"),
    [
        (1, {}, 1, 1, 2),
        (2, {}, 1, 2, 2),
        (8, {}, 7, 8, 14),
        (8, {"workers": 2}, 3, 4, 6),
        (2, {"workers": 4}, 1, 1, 2),
        (8, {"engine_threads": 3}, 3, 3, 6),
    ],
)
def test_a_worker_takes_its_share_of_the_cores(
    shipped: Path,
    monkeypatch: pytest.MonkeyPatch,
    cores: int,
    settings: dict[str, int],
    few: int,
    many: int,
    calls: int,
) -> None:
    made: list[int] = []

    def counted(number: int, thread_name_prefix: str) -> Any:
        made.append(number)
        return ThreadPoolExecutor(number, thread_name_prefix)

    monkeypatch.setattr(model_runner, "ThreadPoolExecutor", counted)
    monkeypatch.setattr("app.inference.engines.onnx._cores", lambda: cores)
    for client in start(Settings.model_validate({"models_dir": shipped, **settings})):
        assert made[:2] == [few, many]
        assert client.app.lifecycle.registry.get().runner.batcher._concurrent_calls == calls


def test_the_engine_is_chosen_by_the_machine_unless_it_is_set(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(lifecycle, "select_engine", lambda: EngineSelection("keras", "there is a GPU"))
    caplog.set_level("INFO")
    assert lifecycle._engine(Settings()) == "keras"
    assert "there is a GPU" in caplog.text
    assert lifecycle._engine(Settings(engine="onnx")) == "onnx"


def test_an_application_is_what_servers_call(client: Client) -> None:
    assert isinstance(client.app, Application)


def test_a_client_that_leaves_in_the_middle_of_its_body_is_counted_and_no_error(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    messages = iter([{"type": "http.request", "body": b'{"pri', "more_body": True}, {"type": "http.disconnect"}])
    sent: list[Any] = []

    async def receive() -> Any:
        return next(messages)

    async def send(message: Any) -> None:
        sent.append(message)

    async def ask(_: httpx.AsyncClient) -> None:
        headers = [(b"content-type", b"application/json")]
        scope = {"type": "http", "method": "POST", "path": "/predict", "headers": headers}
        await client.app(scope, receive, send)

    client.run(ask)
    assert sent[0]["status"] == 499
    assert not caplog.records
    assert 'route="/predict",status="499"} 1.0' in client.get("/metrics").text
