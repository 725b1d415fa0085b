import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from benchmarks.processes import RunningServer, free_port
from benchmarks.servers.pricecast import StartFailed, running_pricecast, wait_until_ready
from tests.benchmarks.http_server import stub_server
from tests.server_process import wait_until

OUTPUT = "cannot find the model"


@pytest.fixture
def printing_process(tmp_path: Path) -> Iterator[RunningServer]:
    """A process that has printed a line and keeps running."""
    server = RunningServer([sys.executable, "-uc", f"import time; print({OUTPUT!r}); time.sleep(600)"], {}, tmp_path)
    try:
        wait_until("the process prints its line", server.output_tail)
        yield server
    finally:
        server.stop()


def test_start_fails_with_last_response_and_output(printing_process: RunningServer) -> None:
    with stub_server(lambda _: (503, {"status": "loading"})) as url, pytest.raises(StartFailed) as caught:
        wait_until_ready(printing_process, url, timeout_s=0.1)
    assert '503 {"status": "loading"}' in str(caught.value)
    assert OUTPUT in str(caught.value)


def test_start_fails_if_nothing_listens(printing_process: RunningServer) -> None:
    with pytest.raises(StartFailed, match=r"ConnectError(.|\n)*" + OUTPUT):
        wait_until_ready(printing_process, f"http://127.0.0.1:{free_port()}", timeout_s=0.1)


def test_wait_ends_when_server_becomes_ready(printing_process: RunningServer) -> None:
    statuses = iter([503, 503, 200])
    with stub_server(lambda _: (next(statuses), {})) as url:
        wait_until_ready(printing_process, url)
    assert next(statuses, None) is None


@pytest.mark.slow
def test_start_fails_if_service_exits() -> None:
    with pytest.raises(StartFailed, match=r"exited:\n(.|\n)*PRICECAST_WORKERS"), running_pricecast(workers=-1):
        pass


def test_service_starts_in_given_directory(tmp_path: Path) -> None:
    with pytest.raises(StartFailed, match="No module named app"), running_pricecast(tmp_path):
        pass


@pytest.mark.slow
def test_service_has_given_settings_and_is_stopped() -> None:
    with running_pricecast(default_model="tutorial") as (url, server):
        models = httpx.get(f"{url}/models", trust_env=False).json()["models"]
        assert [model["name"] for model in models if model["default"]] == ["tutorial"]
    assert server.has_exited
