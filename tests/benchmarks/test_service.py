"""The service alone: awaited until it is ready or never is, and its rounds told."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from benchmarks.processes import Server, free_port
from benchmarks.service import Figures, NeverReady, await_ready, pricecast, table, tell
from tests.benchmarks.servers import answering
from tests.server_process import wait_until

WORDS = "cannot find the model"


@pytest.fixture
def talking(tmp_path: Path) -> Iterator[Server]:
    """A process that has said something, and stays."""
    server = Server([sys.executable, "-uc", f"import time; print({WORDS!r}); time.sleep(600)"], {}, tmp_path)
    try:
        wait_until("it says something", server.said)
        yield server
    finally:
        server.stop()


def test_any_steady_answer_but_200_ends_the_wait_and_is_told(talking: Server) -> None:
    with answering(lambda _: (503, {"status": "loading"})) as url, pytest.raises(NeverReady) as caught:
        await_ready(talking, url, limit_s=0.1)
    assert '503 {"status": "loading"}' in str(caught.value)
    assert WORDS in str(caught.value)


def test_nobody_who_listens_ends_the_wait_as_well(talking: Server) -> None:
    with pytest.raises(NeverReady, match=r"ConnectError(.|\n)*" + WORDS):
        await_ready(talking, f"http://127.0.0.1:{free_port()}", limit_s=0.1)


def test_a_server_that_was_not_ready_and_then_is_has_been_awaited(talking: Server) -> None:
    statuses = iter([503, 503, 200])
    with answering(lambda _: (next(statuses), {})) as url:
        await_ready(talking, url)
    assert next(statuses, None) is None


@pytest.mark.slow
def test_a_service_that_gives_up_is_not_waited_for() -> None:
    with pytest.raises(NeverReady, match=r"has ended:\n(.|\n)*PRICECAST_WORKERS"), pricecast(workers=-1):
        pass


@pytest.mark.slow
def test_a_service_is_ready_with_its_settings_and_then_stopped() -> None:
    with pricecast(default_model="tutorial") as (url, server):
        models = httpx.get(f"{url}/models", trust_env=False).json()["models"]
        assert [model["name"] for model in models if model["default"]] == ["tutorial"]
    assert server.ended


ROUNDS: list[Figures] = [{"p50_ms": 1.0, "failures": 0}, {"p50_ms": 3.0, "failures": 0, "status_503": 7}]
TABLE = """\
p50_ms                          2.000  (1.000 to 3.000)
failures                        0.000  (0.000 to 0.000)
status_503                      7.000  (7.000 to 7.000)"""


def test_each_figure_is_one_line_though_not_every_round_has_it() -> None:
    assert table(ROUNDS) == TABLE


def test_rounds_are_told_with_the_machine_they_were_measured_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("benchmarks.processes.guard", lambda: None)
    tell(iter(ROUNDS))
    printed = capsys.readouterr()
    assert [json.loads(line) for line in printed.err.splitlines()] == ROUNDS
    machine, _, told = printed.out.partition("\n")
    assert "cores" in json.loads(machine)
    assert told == TABLE + "\n"
