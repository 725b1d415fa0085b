"""Tests of engine selection and engine threads in the running application."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from app import lifecycle
from app.artifact.arrays import F32
from app.inference.engines.select import EngineSelection
from app.inference.forecaster import Forecaster, PreprocessedBatch
from app.serving import model_runner
from app.settings import Settings
from tests.app.api.app_client import AppClient, batch_body, running_app
from tests.prices import PRICES


def test_engine_is_selected_unless_configured(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(lifecycle, "select_engine", lambda: EngineSelection("keras", "there is a GPU"))
    caplog.set_level("INFO")
    assert lifecycle._choose_engine(Settings()) == "keras"
    assert "there is a GPU" in caplog.text
    assert lifecycle._choose_engine(Settings(engine="onnx")) == "onnx"


@pytest.fixture
def client_and_threads(shipped: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[AppClient, list[str]]]:
    """A server on two cores, and the name of the thread of each engine call."""
    thread_names: list[str] = []
    original_compute = Forecaster.infer

    def infer(self: Forecaster, batch: PreprocessedBatch) -> F32:
        thread_names.append(threading.current_thread().name.partition("_")[0])
        return original_compute(self, batch)

    monkeypatch.setattr(Forecaster, "infer", infer)
    monkeypatch.setattr("app.inference.engines.onnx._cores", lambda: 2)
    with running_app(Settings(models_dir=shipped)) as client:
        yield client, thread_names


def test_lone_window_of_fast_model_runs_in_the_event_loop(client_and_threads: tuple[AppClient, list[str]]) -> None:
    client, thread_names = client_and_threads
    assert client.post("/predict", json={"prices": PRICES}).status_code == 200
    client.app.lifecycle.registry.get().runner.batcher.throughput.windows_per_s = model_runner.INLINE_WINDOWS_PER_S * 2
    assert client.post("/predict", json={"prices": PRICES}).status_code == 200
    assert thread_names == ["engine", threading.current_thread().name.partition("_")[0]]


def test_slow_model_never_runs_in_the_event_loop(client_and_threads: tuple[AppClient, list[str]]) -> None:
    client, thread_names = client_and_threads
    for _ in range(3):
        assert client.post("/predict", json={"prices": PRICES}).status_code == 200
        client.app.lifecycle.registry.get().runner.batcher.throughput.windows_per_s = (
            model_runner.INLINE_WINDOWS_PER_S / 2
        )
    assert thread_names == ["engine"] * 3


def test_only_bulk_requests_use_all_cores(client_and_threads: tuple[AppClient, list[str]]) -> None:
    client, thread_names = client_and_threads
    assert client.post("/predict/batch", json=batch_body(100)).status_code == 200
    assert set(thread_names) == {"bulk"}
    thread_names.clear()
    assert client.post("/predict/batch", json=batch_body(2)).status_code == 200
    assert set(thread_names) == {"engine"}


@pytest.mark.parametrize(
    ("cores", "settings", "engine_threads", "bulk_threads", "concurrent_calls"),
    [
        (1, {}, 1, 1, 2),
        (2, {}, 1, 2, 2),
        (8, {}, 7, 8, 14),
        (8, {"workers": 2}, 3, 4, 6),
        (2, {"workers": 4}, 1, 1, 2),
        (8, {"engine_threads": 3}, 3, 3, 6),
    ],
)
def test_server_process_uses_its_share_of_the_cores(
    shipped: Path,
    monkeypatch: pytest.MonkeyPatch,
    cores: int,
    settings: dict[str, int],
    engine_threads: int,
    bulk_threads: int,
    concurrent_calls: int,
) -> None:
    pool_sizes: list[int] = []

    def recording_executor(max_workers: int, thread_name_prefix: str) -> Any:
        pool_sizes.append(max_workers)
        return ThreadPoolExecutor(max_workers, thread_name_prefix)

    monkeypatch.setattr(model_runner, "ThreadPoolExecutor", recording_executor)
    monkeypatch.setattr("app.inference.engines.onnx._cores", lambda: cores)
    with running_app(Settings.model_validate({"models_dir": shipped, **settings})) as client:
        assert pool_sizes[:2] == [engine_threads, bulk_threads]
        assert client.app.lifecycle.registry.get().runner.batcher._concurrent_calls == concurrent_calls
