"""The supervisor: server processes share work and metrics, are replaced when they die, and stop together."""

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
from benchmarks.model_variants import publish_variant
from benchmarks.processes import free_port
from tests.conftest import version_of
from tests.metrics_text import parse_metrics
from tests.prices import PRICES
from tests.server_process import TIMEOUT_S, HttpConnection, ServerProcess, running_server, wait_until

pytestmark = pytest.mark.slow


def server_processes_of(supervisor: ServerProcess) -> list[psutil.Process]:
    """Return the server processes, without the resource tracker that multiprocessing starts too."""
    found = []
    for child in psutil.Process(supervisor.process.pid).children():
        with suppress(psutil.NoSuchProcess):  # also raised for zombies
            if "spawn_main" in " ".join(child.cmdline()):
                found.append(child)
    return found


def has_ended(process: psutil.Process) -> bool:
    """Return whether a process has exited. As a zombie, it only waits for its parent to collect its exit code."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def predict(server: ServerProcess, times: int = 1) -> list[int]:
    """Send requests, each over a new connection so that the kernel distributes them. Return the status codes."""
    found = []
    for _ in range(times):
        with httpx.Client(trust_env=False, verify=False, timeout=TIMEOUT_S) as client:
            found.append(client.post(f"{server.url}/predict", json={"prices": PRICES}).status_code)
    return found


@pytest.fixture(scope="module")
def two_processes() -> Iterator[ServerProcess]:
    """A supervisor with two server processes."""
    with running_server(with_coverage=True, workers="2") as (server, _):
        yield server


# Sharing one port


def test_metrics_are_summed_whichever_process_is_scraped(two_processes: ServerProcess) -> None:
    assert predict(two_processes, 40) == [200] * 40
    model = f'pricecast_model_info{{engine="onnx",name="default",version="{version_of("default")}"}}'
    for _ in range(10):
        with httpx.Client(trust_env=False, verify=False) as client:
            samples = parse_metrics(client.get(f"{two_processes.url}/metrics").text)
        assert samples['pricecast_requests_total{method="POST",route="/predict",status="200"}'] == 40
        assert samples["pricecast_call_windows_sum"] == 40
        assert samples[model] == 1


def test_log_lines_of_several_processes_do_not_mix(two_processes: ServerProcess) -> None:
    async def send_requests() -> None:
        connection = await HttpConnection.open(two_processes)
        for _ in range(50):
            assert (await connection.post("/predict", {"prices": PRICES}, X_Request_ID="mixed"))[0] == 200
        connection.close()

    async def run_connections() -> None:
        await asyncio.gather(*(send_requests() for _ in range(32)))

    asyncio.run(run_connections())
    wait_until("a line for each", lambda: sum('"mixed"' in line for line in two_processes.log) >= 32 * 50)
    for line in list(two_processes.log):
        assert json.loads(line)["process"]


def test_killed_process_is_replaced(two_processes: ServerProcess) -> None:
    before = server_processes_of(two_processes)
    assert len(before) == 2
    pids = {process.pid for process in before}
    before[0].kill()
    wait_until("a new process", lambda: {process.pid for process in server_processes_of(two_processes)} - pids)
    wait_until("its log line", lambda: two_processes.has_logged("starting a replacement"))
    wait_until("its startup", lambda: sum("Application startup complete" in line for line in two_processes.log) == 3)
    assert predict(two_processes, 20) == [200] * 20
    assert len(server_processes_of(two_processes)) == 2


# Version changes


def request_all_processes(server: ServerProcess, method: str, path: str, **options: Any) -> list[httpx.Response]:
    """Send 24 requests over new connections, so that every process almost certainly handles at least one."""
    found = []
    for _ in range(24):
        with httpx.Client(trust_env=False, verify=False, timeout=TIMEOUT_S) as client:
            found.append(client.request(method, f"{server.url}{path}", **options))
    return found


def live_versions(server: ServerProcess) -> set[str]:
    """Return the versions of the default model in the responses of all processes."""
    responses = request_all_processes(server, "POST", "/predict", json={"prices": PRICES})
    assert {response.status_code for response in responses} == {200}
    return {response.json()["model"]["version"] for response in responses}


LOCKABLE_MODELS_DIR = """
from app.artifact import store

write = store.write_current

def write_unless_locked(models_dir, name, version):
    if (models_dir / name / "locked").exists():
        raise PermissionError(13, "Permission denied")
    write(models_dir, name, version)

store.write_current = write_unless_locked
"""


def test_all_processes_follow_a_load_request_and_sighup(models: Path) -> None:
    first, model_dir = version_of("default"), models / "default"
    wide = publish_variant(models, "default", 3.0, is_current=False)
    port = free_port()
    settings = {"workers": "2", "models_dir": str(models), "models_poll_s": "0", "metrics_port": str(port)}
    with running_server(with_coverage=True, startup_code=LOCKABLE_MODELS_DIR, **settings) as (server, client):
        assert live_versions(server) == {first}
        assert client.post("/models/default/load", json={"version": wide}).status_code == 200
        wait_until("the loaded version everywhere", lambda: live_versions(server) == {wide})
        assert store.current_version(models, "default") == wide

        (model_dir / "locked").touch()  # from here on, the server may not write to the models directory
        assert client.post("/models/default/load", json={"version": first}).status_code == 200
        wait_until("the loaded version everywhere", lambda: live_versions(server) == {first})
        assert store.current_version(models, "default") == wide
        (model_dir / "locked").unlink()

        published = publish_variant(models, "default", 2.0)
        server.process.send_signal(signal.SIGHUP)
        wait_until("the published version everywhere", lambda: live_versions(server) == {published})

        (model_dir / "current").write_text("nonsense", encoding="ascii")
        server.process.send_signal(signal.SIGHUP)
        wait_until(
            "a failure everywhere",
            lambda: all(
                "default" in response.json()["failures"] for response in request_all_processes(server, "GET", "/models")
            ),
        )
        assert live_versions(server) == {published}

        samples = parse_metrics(httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text)
        assert samples[f'pricecast_model_info{{engine="onnx",name="default",version="{published}"}}'] == 1
        assert {response.status_code for response in request_all_processes(server, "GET", "/metrics")} == {404}
        assert server.stop() == 0
        logged = server.logged_requests("/predict")
        assert len({line["process"] for line in logged}) == 2, "both processes have answered"
        counted = samples['pricecast_requests_total{method="POST",route="/predict",status="200"}']
        assert len(logged) == counted >= 4 * 24


def test_sighup_is_forwarded_only_to_started_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    signals: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: signals.append((pid, number)))
    supervisor = supervisor_module.Supervisor(Settings(workers=2))
    for pid, has_started in ((11, False), (12, True)):
        server: Any = SimpleNamespace(process=SimpleNamespace(pid=pid), has_started=has_started)
        supervisor._servers.append(server)
    supervisor._forward_sighup(signal.SIGHUP, None)
    assert signals == [(12, signal.SIGHUP)], "SIGHUP would kill a starting process, which reads the directory anyway"


# Shutdown


@pytest.mark.parametrize("to_all", [False, True], ids=["SIGTERM to the supervisor", "Ctrl-C to every process"])
def test_stop_signal_drains_all_processes_and_exits_with_0(to_all: bool) -> None:
    with running_server(with_coverage=to_all, workers="2", batch_delay_s="1.0", drain_grace_s="0.1") as (server, _):
        processes = server_processes_of(server)
        statuses: list[int] = []
        requesting = [threading.Thread(target=lambda: statuses.extend(predict(server))) for _ in range(4)]
        for thread in requesting:
            thread.start()
        wait_until(
            "all connections",
            lambda: sum(len(process.net_connections()) for process in processes) >= 2 + len(requesting),
        )
        if to_all:
            for pid in (server.process.pid, *(process.pid for process in processes)):
                os.kill(pid, signal.SIGINT)
            code = server.process.wait(TIMEOUT_S)
        else:
            code = server.stop()
        for thread in requesting:
            thread.join()
        assert statuses == [200] * 4
        assert code == 0
        assert not any(process.is_running() for process in processes)


def test_second_signal_stops_all_processes_at_once() -> None:
    with running_server(workers="2", drain_grace_s="60") as (server, _):
        processes = server_processes_of(server)
        server.process.send_signal(signal.SIGTERM)
        ready_url = f"{server.url}/health/ready"
        wait_until("unready", lambda: httpx.get(ready_url, trust_env=False).status_code == 503)
        server.stop()
        assert not any(process.is_running() for process in processes)


def test_processes_exit_when_the_supervisor_has_died() -> None:
    with running_server(with_coverage=True, workers="2", drain_grace_s="0") as (server, _):
        processes = server_processes_of(server)
        server.process.kill()
        server.process.wait()
        wait_until("the end of all processes", lambda: all(map(has_ended, processes)))


def test_process_created_during_the_shutdown_is_terminated(monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []

    class FakeProcess:
        def terminate(self) -> None:
            events.append("terminated")

    class FakeServerProcess:
        def __init__(self, settings: Settings) -> None:
            self.process = FakeProcess()

    monkeypatch.setattr(supervisor_module, "_ServerProcess", FakeServerProcess)
    supervisor = supervisor_module.Supervisor(Settings(workers=2))
    supervisor._start_server()
    assert not events
    supervisor._forward_sigterm(signal.SIGTERM, None)
    supervisor._start_server()
    assert events == ["terminated"] * 2


# Failed startups


def test_process_killed_during_its_startup_stops_all() -> None:
    server = ServerProcess(with_coverage=True, workers="2")
    try:
        wait_until("two processes", lambda: len(server_processes_of(server)) == 2)
        first, other = server_processes_of(server)
        first.kill()
        assert server.process.wait(TIMEOUT_S) == 1
        assert not other.is_running()
    finally:
        server.stop()
    assert server.has_logged("failed to start")


def test_stop_signal_during_the_startup_stops_all() -> None:
    server = ServerProcess(with_coverage=True, workers="2")
    try:
        wait_until("a process", lambda: server_processes_of(server))
        assert server.stop() == 0
    finally:
        server.stop()


def test_port_in_use_stops_the_startup() -> None:
    with socket.create_server(("127.0.0.1", 0)) as used:
        server = ServerProcess(with_coverage=True, workers="2", port=str(used.getsockname()[1]))
        with pytest.raises(AssertionError, match="cannot listen on"):
            server.wait_until_listening()
        assert server.stop() == 1
