"""Several server processes on one port: they share work and metrics, are replaced when they die, and stop together."""

import asyncio
import json
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import psutil
import pytest

from app.artifact import store
from app.server import supervisor as supervisor_module
from app.settings import Settings
from tests.conftest import version_of
from tests.model_variants import publish_variant
from tests.server_process import PATIENCE_S, Connection, ServerProcess, free_port, running, until

pytestmark = pytest.mark.slow

PRICES = [100.0 + i % 7 for i in range(60)]


def workers_of(server: ServerProcess) -> list[psutil.Process]:
    """The server's own processes, less the helper that Python keeps beside them."""
    found = []
    for child in psutil.Process(server.process.pid).children():
        with suppress(psutil.NoSuchProcess):  # a zombie counts as none
            if "spawn_main" in " ".join(child.cmdline()):
                found.append(child)
    return found


def ask(server: ServerProcess, times: int = 1) -> list[int]:
    """Status codes of requests, each over a connection of its own, so that the kernel spreads them."""
    found = []
    for _ in range(times):
        with httpx.Client(trust_env=False, verify=False, timeout=PATIENCE_S) as client:
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
        with httpx.Client(trust_env=False, verify=False) as client:
            lines = client.get(f"{server.url}/metrics").text.splitlines()
        values = dict(line.rsplit(" ", 1) for line in lines if line[0] != "#")
        assert float(values['pricecast_requests_total{method="POST",route="/predict",status="200"}']) == 40
        assert float(values["pricecast_call_windows_sum"]) == 40
        assert (
            float(values[f'pricecast_model_info{{engine="onnx",name="default",version="{version_of("default")}"}}'])
            == 1
        )


def test_lines_of_several_workers_never_mix(two: tuple[ServerProcess, httpx.Client]) -> None:
    server, _ = two

    async def ask() -> None:
        connection = await Connection.to(server)
        for _ in range(50):
            assert (await connection.post("/predict", {"prices": PRICES}, X_Request_ID="mixed"))[0] == 200
        connection.close()

    async def together() -> None:
        await asyncio.gather(*(ask() for _ in range(32)))

    asyncio.run(together())
    until("a line for each", lambda: sum('"mixed"' in line for line in server.log) >= 32 * 50)
    for line in list(server.log):
        assert json.loads(line)["process"]


def test_a_worker_that_dies_is_replaced_and_the_others_go_on(two: tuple[ServerProcess, httpx.Client]) -> None:
    server, _ = two
    before = workers_of(server)
    assert len(before) == 2
    before[0].kill()
    until("a new worker", lambda: {each.pid for each in workers_of(server)} - {each.pid for each in before})
    until("a line of it", lambda: server.has_said("and is replaced"))
    until("two that serve", lambda: sum("Application startup complete" in line for line in server.log) == 3)
    assert ask(server, 20) == [200] * 20
    assert len(workers_of(server)) == 2


def each(server: ServerProcess, method: str, path: str, **how: Any) -> list[httpx.Response]:
    """The answers to many requests, each over a connection of its own: no worker is left out of so many."""
    found = []
    for _ in range(24):
        with httpx.Client(trust_env=False, verify=False, timeout=PATIENCE_S) as client:
            found.append(client.request(method, f"{server.url}{path}", **how))
    return found


def live(server: ServerProcess) -> set[str]:
    """The versions of the default model that the workers answer with."""
    answers = each(server, "POST", "/predict", json={"prices": PRICES})
    assert {answer.status_code for answer in answers} == {200}
    return {answer.json()["model"]["version"] for answer in answers}


LOCKABLE = """
from app.artifact import store

write = store.write_current

def write_unless_locked(models_dir, name, version):
    if (models_dir / name / "locked").exists():
        raise PermissionError(13, "Permission denied")
    write(models_dir, name, version)

store.write_current = write_unless_locked
"""


def test_what_one_worker_is_told_all_do_and_so_do_they_what_their_supervisor_is_told(models: Path) -> None:
    first, home = version_of("default"), models / "default"
    wide = publish_variant(models, "default", 3.0, is_current=False)
    port = free_port()
    settings = {"workers": "2", "models_dir": str(models), "models_poll_s": "0", "metrics_port": str(port)}
    with running(measured=True, first=LOCKABLE, **settings) as (server, client):
        assert live(server) == {first}
        assert client.post("/models/default/load", json={"version": wide}).status_code == 200
        until("all answer with what one was told to", lambda: live(server) == {wide})
        assert store.current_version(models, "default") == wide

        (home / "locked").touch()  # as where the server may not write there
        assert client.post("/models/default/load", json={"version": first}).status_code == 200
        until("all answer with what one was told to", lambda: live(server) == {first})
        assert store.current_version(models, "default") == wide
        (home / "locked").unlink()

        another = publish_variant(models, "default", 2.0)
        server.process.send_signal(signal.SIGHUP)
        until("all have looked again", lambda: live(server) == {another})

        (home / "current").write_text("nonsense", encoding="ascii")
        server.process.send_signal(signal.SIGHUP)
        until(
            "all say why",
            lambda: all("default" in told.json()["failures"] for told in each(server, "GET", "/models")),
        )
        assert live(server) == {another}

        shown = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text.splitlines()
        samples = dict(line.rsplit(" ", 1) for line in shown if line[0] != "#")
        assert samples[f'pricecast_model_info{{engine="onnx",name="default",version="{another}"}}'] == "1.0"
        assert {answer.status_code for answer in each(server, "GET", "/metrics")} == {404}
        assert server.stop() == 0
        logged = server.requests("/predict")
        assert len({line["process"] for line in logged}) == 2, "both have answered"
        counted = float(samples['pricecast_requests_total{method="POST",route="/predict",status="200"}'])
        assert len(logged) == counted >= 4 * 24


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
        until("unready_reason", lambda: httpx.get(f"{server.url}/health/ready", trust_env=False).status_code == 503)
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
    assert server.has_said("could not start")


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

    monkeypatch.setattr(supervisor_module, "_Worker", Worker)
    supervisor = supervisor_module.Supervisor(Settings(workers=2))
    supervisor._start_one()
    assert not ended
    supervisor._pass_on(signal.SIGTERM, None)
    supervisor._start_one()
    assert ended == ["terminated"] * 2


def test_word_of_other_versions_goes_to_the_workers_that_have_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: told.append((pid, number)))
    supervisor = supervisor_module.Supervisor(Settings(workers=2))
    for pid, has_started in ((11, False), (12, True)):
        worker: Any = SimpleNamespace(process=SimpleNamespace(pid=pid), has_started=has_started)
        supervisor._workers.append(worker)
    supervisor._pass_on_news(signal.SIGHUP, None)
    assert told == [(12, signal.SIGHUP)], "another would not survive it, and will look for itself"
