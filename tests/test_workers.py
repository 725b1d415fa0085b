"""Several server processes on one port: they share work and metrics, are replaced when they die, and stop together."""

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import httpx
import psutil
import pytest

from app import workers
from app.settings import Settings
from tests.conftest import version_of
from tests.server import ServerProcess, running

pytestmark = pytest.mark.slow

PRICES = [100.0 + i % 7 for i in range(60)]
PATIENCE_S = 60.0


def workers_of(server: ServerProcess) -> list[psutil.Process]:
    """The server's own processes, less the helper that Python keeps beside them."""
    found = []
    for child in psutil.Process(server.process.pid).children():
        with suppress(psutil.NoSuchProcess):  # a zombie counts as none
            if "spawn_main" in " ".join(child.cmdline()):
                found.append(child)
    return found


def until(what: str, holds: Callable[[], object]) -> None:
    """Waits until `holds()`, and fails if it never does."""
    end = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < end, f"never: {what}"
        time.sleep(0.02)


def ask(server: ServerProcess, times: int = 1) -> list[int]:
    """Status codes of requests, each over a connection of its own, so that the kernel spreads them."""
    found = []
    for _ in range(times):
        with httpx.Client(trust_env=False, timeout=PATIENCE_S) as client:
            found.append(client.post(f"{server.url}/predict", json={"prices": PRICES}).status_code)
    return found


@pytest.fixture(scope="module")
def two() -> Iterator[tuple[ServerProcess, httpx.Client]]:
    with running(measured=True, workers="2") as both:
        yield both


def test_metrics_are_those_of_all_workers_whichever_is_asked(two: tuple[ServerProcess, httpx.Client]) -> None:
    server, _ = two
    assert ask(server, 40) == [200] * 40
    for _ in range(10):
        with httpx.Client(trust_env=False) as client:
            lines = client.get(f"{server.url}/metrics").text.splitlines()
        values = dict(line.rsplit(" ", 1) for line in lines if line[0] != "#")
        assert float(values['pricecast_requests_total{method="POST",route="/predict",status="200"}']) == 40
        assert float(values["pricecast_call_windows_sum"]) == 40
        assert (
            float(values[f'pricecast_model_info{{engine="onnx",name="default",version="{version_of("default")}"}}'])
            == 1
        )


def test_a_worker_that_dies_is_replaced_and_the_others_go_on(two: tuple[ServerProcess, httpx.Client]) -> None:
    server, _ = two
    before = workers_of(server)
    assert len(before) == 2
    before[0].kill()
    until("a new worker", lambda: {each.pid for each in workers_of(server)} - {each.pid for each in before})
    assert any("and is replaced" in line for line in server.log)
    until("two that serve", lambda: sum("Application startup complete" in line for line in server.log) == 3)
    assert ask(server, 20) == [200] * 20
    assert len(workers_of(server)) == 2


@pytest.mark.parametrize("to_all", [False, True], ids=["SIGTERM to the supervisor", "Ctrl-C to every process"])
def test_on_a_signal_all_finish_what_they_accepted_and_end_well(to_all: bool) -> None:
    with running(measured=True, workers="2", batch_delay_s="1.0", drain_grace_s="0.1") as (server, _):
        workers = workers_of(server)
        said: list[int] = []
        asking = [threading.Thread(target=lambda: said.extend(ask(server))) for _ in range(4)]
        for each in asking:
            each.start()
        until("all accepted", lambda: sum(len(worker.net_connections()) for worker in workers) >= 2 + len(asking))
        if to_all:
            for pid in (server.process.pid, *(worker.pid for worker in workers)):
                os.kill(pid, signal.SIGINT)
            code = server.process.wait(PATIENCE_S)
        else:
            code = server.stop()
        for each in asking:
            each.join()
        assert said == [200] * 4
        assert code == 0
        assert not any(worker.is_running() for worker in workers)


def test_a_second_signal_ends_all_at_once() -> None:
    with running(measured=True, workers="2", drain_grace_s="60") as (server, _):
        workers = workers_of(server)
        server.process.send_signal(signal.SIGTERM)
        until("unready", lambda: httpx.get(f"{server.url}/health/ready", trust_env=False).status_code == 503)
        server.stop()
        assert not any(worker.is_running() for worker in workers)


def test_workers_leave_when_their_supervisor_is_gone() -> None:
    with running(measured=True, workers="2", drain_grace_s="0") as (server, _):
        workers = workers_of(server)
        server.process.kill()
        server.process.wait()
        until("no worker", lambda: not any(worker.is_running() for worker in workers))


def test_a_worker_that_cannot_start_stops_all() -> None:
    server = ServerProcess(measured=True, workers="2")
    try:
        until("two workers", lambda: len(workers_of(server)) == 2)
        first, other = workers_of(server)
        first.kill()
        assert server.process.wait(PATIENCE_S) == 1
        assert not other.is_running()
    finally:
        server.stop()
    assert any("could not start" in line for line in server.log)


def test_a_signal_during_the_start_stops_all() -> None:
    server = ServerProcess(measured=True, workers="2")
    try:
        until("a worker", lambda: workers_of(server))
        assert server.stop() == 0
    finally:
        server.stop()


def test_a_port_that_is_taken_is_told_and_stops_the_start() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = ServerProcess(measured=True, workers="2", port=str(taken.getsockname()[1]))
        with pytest.raises(AssertionError, match="cannot listen on"):
            server.wait_until_listening()
        assert server.stop() == 1


def test_a_worker_that_is_started_while_all_are_leaving_leaves_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[str] = []

    class Process:
        def terminate(self) -> None:
            ended.append("terminated")

    class Worker:
        def __init__(self, settings: Settings) -> None:
            self.process = Process()

    monkeypatch.setattr(workers, "_Worker", Worker)
    supervisor = workers.Supervisor(Settings(workers=2))
    supervisor._start_one()
    assert not ended
    supervisor._pass_on(signal.SIGTERM, None)
    supervisor._start_one()
    assert ended == ["terminated"] * 2
