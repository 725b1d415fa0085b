"""A real server over a real socket: what only shows there."""

import asyncio
import gc
import gzip
import http.client
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
import uvicorn

from app import api_keys
from app.artifact import store
from app.artifact.transform import F64
from app.inference.forecaster import load_forecaster
from app.server.uvicorn_server import GracefulServer
from tests.conftest import version_of
from tests.server_process import ROOT, Connection, ServerProcess, free_port, running, until

pytestmark = pytest.mark.slow

TOLERANCE = 1e-5
SIZES = range(1, 258)


def windows(count: int, seed: int = 7) -> F64:
    """(count, 60) prices of all scales, no two windows alike."""
    rng = np.random.default_rng(seed)
    steps = rng.normal(scale=rng.uniform(0.001, 0.04, (count, 1)), size=(count, 60))
    prices: F64 = rng.uniform(0.001, 60_000, (count, 1)) * np.exp(steps.cumsum(axis=1))
    return prices


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[ServerProcess, httpx.Client]]:
    with running() as both:
        yield both


def answered(client: httpx.Client, model: str, rows: F64, levels: list[int], horizon: int) -> F64:
    """(B, H, Q) of one batch request."""
    series = [{"prices": row} for row in rows.tolist()]
    body = {"series": series, "model": model, "levels": levels, "horizon": horizon}
    response = client.post("/predict/batch", json=body)
    assert response.status_code == 200, response.text
    found = []
    for each in response.json()["forecasts"]:
        lower = [each["intervals"][str(level)]["lower"] for level in reversed(levels)] if levels else []
        upper = [each["intervals"][str(level)]["upper"] for level in levels] if levels else []
        found.append(np.array([*lower, each["forecast"], *upper]).T)
    return np.array(found)


@pytest.mark.parametrize("engine", ["onnx", "keras"])
def test_http_says_what_the_forecaster_says_and_what_keras_says(shipped: Path, engine: str) -> None:
    rows = windows(257)
    with running(engine=engine) as (_, client):
        for name in ("default", "tutorial"):
            manifest = store.read_version(shipped, name, store.current_version(shipped, name)).manifest
            artifact = store.read_version(shipped, name, manifest.version)
            expected = {kind: load_forecaster(artifact, kind).forecast(rows) for kind in ("onnx", "keras")}
            for size in SIZES:
                said = answered(client, name, rows[:size], list(manifest.levels), manifest.horizon)
                for forecast in expected.values():
                    np.testing.assert_allclose(said, forecast[:size], rtol=TOLERANCE)
            alone = client.post("/predict", json={"prices": rows[5].tolist(), "model": name}).json()
            np.testing.assert_allclose(
                alone["forecast"][0], expected["onnx"][5, 0, len(manifest.levels)], rtol=TOLERANCE
            )


def test_ten_thousand_requests_from_sixty_four_connections_each_get_their_own_answer(
    server: tuple[ServerProcess, httpx.Client], shipped: Path
) -> None:
    requests, connections = 10_000, 64
    rows = windows(requests, seed=11)
    forecaster = load_forecaster(store.read_version(shipped, "default", store.current_version(shipped, "default")), "onnx")
    expected = np.concatenate([forecaster.forecast(rows[i : i + 500]) for i in range(0, requests, 500)])
    said = np.empty((requests, 3))

    async def connection(first: int) -> None:
        connected = await Connection.to(server[0])
        for i in range(first, requests, connections):
            status, answer = await connected.post("/predict", {"prices": rows[i].tolist(), "levels": [80]})
            assert status == 200, answer
            interval = answer["intervals"]["80"]
            said[i] = interval["lower"][0], answer["forecast"][0], interval["upper"][0]
        connected.close()

    async def all_connections() -> None:
        async with asyncio.timeout(240), asyncio.TaskGroup() as group:
            for first in range(connections):
                group.create_task(connection(first))

    asyncio.run(all_connections())
    median = expected.shape[2] // 2
    np.testing.assert_allclose(said, expected[:, 0, [median - 2, median, median + 2]], rtol=TOLERANCE)


def test_metrics_count_what_was_asked(shipped: Path) -> None:
    with running() as (_, client):
        for row in windows(5).tolist():
            client.post("/predict", json={"prices": row})
        client.post("/predict", json={"prices": []})
        client.post("/predict/batch", json={"series": [{"prices": row} for row in windows(100).tolist()]})
        lines = dict(line.rsplit(" ", 1) for line in client.get("/metrics").text.splitlines() if line[0] != "#")
    assert float(lines['pricecast_requests_total{method="POST",route="/predict",status="200"}']) == 5
    assert float(lines['pricecast_requests_total{method="POST",route="/predict",status="422"}']) == 1
    assert float(lines['pricecast_requests_total{method="POST",route="/predict/batch",status="200"}']) == 1
    assert float(lines["pricecast_call_windows_sum"]) == 105
    assert (
        float(lines[f'pricecast_model_info{{engine="onnx",name="tutorial",version="{version_of("tutorial")}"}}']) == 1
    )


def test_the_onnx_engine_needs_neither_tensorflow_nor_keras() -> None:
    program = """
import asyncio, sys
from app.main import create_app
app = create_app()
async def serve():
    async with app.fastapi.router.lifespan_context(app.fastapi):
        assert app.lifecycle.unready_reason() is None
        assert sorted(app.lifecycle.registry.models) == ["default", "tutorial"]
asyncio.run(serve())
heavy = {name.partition(".")[0] for name in sys.modules} & {"tensorflow", "keras", "jax", "torch", "matplotlib", "onnx"}
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, timeout=60)


def test_it_takes_less_than_250_megabytes_with_both_models() -> None:
    with running() as (server, client):
        assert client.post("/predict", json={"prices": windows(1)[0].tolist()}).status_code == 200
        assert psutil.Process(server.process.pid).memory_info().rss < 250e6


def test_a_client_that_has_gone_is_not_computed_for() -> None:
    body = json.dumps({"prices": windows(1)[0].tolist()}).encode()
    head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    with running(measured=True, batch_delay_s="1.0") as (server, client):
        with socket.create_connection(server.address) as leaving:
            leaving.sendall(head.encode() + body)
        for _ in range(200):
            metrics = client.get("/metrics").text
            if 'status="499"} 1.0' in metrics:
                break
        assert 'pricecast_requests_total{method="POST",route="/predict",status="499"} 1.0' in metrics
        assert client.post("/predict", json={"prices": windows(1)[0].tolist()}).status_code == 200
        assert "pricecast_call_windows_sum 1.0" in client.get("/metrics").text


def test_a_body_that_stops_coming_holds_up_nobody_and_is_given_up(server: tuple[ServerProcess, httpx.Client]) -> None:
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99\r\n"
    with socket.create_connection(server[0].address, timeout=30) as slow:
        slow.sendall(head + b"X-Request-Timeout-Ms: 50\r\n\r\n{")
        assert server[1].post("/predict", json={"prices": windows(1)[0].tolist()}).status_code == 200
        answer = http.client.HTTPResponse(slow)
        answer.begin()
        assert answer.status == 504
        assert json.loads(answer.read())["type"] == "urn:pricecast:deadline-exceeded"
    assert server[1].get("/health/ready").status_code == 200


def test_a_compressed_batch_is_answered_and_a_bomb_is_not(server: tuple[ServerProcess, httpx.Client]) -> None:
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    batch = json.dumps({"series": [{"prices": row} for row in windows(100).tolist()]}).encode()
    answer = server[1].post("/predict/batch", content=gzip.compress(batch), headers=headers).json()
    assert (
        answer
        == server[1].post("/predict/batch", content=batch, headers=headers | {"content-encoding": "identity"}).json()
    )
    before = psutil.Process(server[0].process.pid).memory_info().rss
    bomb = gzip.compress(bytes(256 * 2**20))
    assert server[1].post("/predict/batch", content=bomb, headers=headers).status_code == 413
    assert psutil.Process(server[0].process.pid).memory_info().rss < before + 64 * 2**20


@pytest.fixture(scope="module")
def guarded() -> Iterator[tuple[ServerProcess, httpx.Client, str, int]]:
    """A server that others could reach; a key of it, and the port that its metrics have."""
    key, setting = api_keys.new("alice")
    port = free_port()
    with running(measured=True, host="0.0.0.0", api_keys=setting, metrics_port=str(port)) as (server, client):
        yield server, client, key, port


def test_where_others_reach_it_it_starts_with_keys_and_asks_for_them(
    guarded: tuple[ServerProcess, httpx.Client, str, int],
) -> None:
    server, client, key, _ = guarded
    assert server.url.startswith("http://0.0.0.0:")
    body = {"prices": windows(1)[0].tolist()}
    assert client.post("/predict", json=body).status_code == 401
    assert client.post("/predict", json=body, headers={"authorization": f"Bearer {key}"}).status_code == 200
    assert client.get("/health/ready").status_code == 200


def test_where_others_reach_it_it_starts_without_keys_only_if_that_is_said() -> None:
    with running(host="0.0.0.0", allow_public_without_keys="true") as (_, client):
        assert client.post("/predict", json={"prices": windows(1)[0].tolist()}).status_code == 200


def test_metrics_on_a_port_of_their_own_need_no_key_and_are_nowhere_else(
    guarded: tuple[ServerProcess, httpx.Client, str, int],
) -> None:
    _, client, key, port = guarded
    shown = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False)
    assert shown.status_code == 200
    assert "pricecast_call_windows_sum" in shown.text
    assert client.get("/metrics", headers={"authorization": f"Bearer {key}"}).status_code == 404


def test_a_port_for_metrics_that_is_taken_is_told_and_stops_the_start(
    guarded: tuple[ServerProcess, httpx.Client, str, int],
) -> None:
    second = ServerProcess(measured=True, metrics_port=str(guarded[3]))
    with pytest.raises(AssertionError, match=f"cannot listen on 127.0.0.1:{guarded[3]}: "):
        second.wait_until_listening()
    assert second.stop() == 1
    assert not second.has_said("Traceback")


def test_every_request_leaves_a_line_of_json_and_no_key_in_it(
    guarded: tuple[ServerProcess, httpx.Client, str, int],
) -> None:
    server, client, key, _ = guarded
    trace = "0af7651916cd43dd8448eb211c80319c"
    headers = {"authorization": f"Bearer {key}", "traceparent": f"00-{trace}-b7ad6b7169203331-01"}
    assert client.get("/models", headers=headers).headers["x-request-id"] == trace
    until("its line", lambda: server.requests("/models"))
    [line] = server.requests("/models")
    assert (line["request_id"], line["trace_id"], line["status"], line["client"]) == (trace, trace, 200, "alice")
    assert key not in "".join(server.log)


def test_no_answer_names_the_server_also_not_to_what_is_no_request(server: tuple[ServerProcess, httpx.Client]) -> None:
    for method, path in (("GET", "/docs"), ("GET", "/nowhere"), ("POST", "/predict"), ("GET", "/health/ready")):
        assert "server" not in server[1].request(method, path).headers
    with socket.create_connection(server[0].address, timeout=10) as connection:
        connection.sendall(b"no request at all\r\n\r\n")
        said = connection.makefile("rb").read().lower()
    assert said.startswith(b"http/1.1 400")
    assert b"server:" not in said
    assert b"uvicorn" not in said


def test_on_sigterm_each_request_of_sixty_four_connections_that_was_read_is_answered() -> None:
    series = [{"prices": row} for row in windows(4).tolist()]
    answered: dict[str, int] = {}
    is_time = asyncio.Event()

    async def ask(number: int, server: ServerProcess) -> None:
        connection = await Connection.to(server)
        with suppress(ConnectionError):
            for i in itertools.count():
                name = f"{number}-{i}"
                answered[name], _ = await connection.post("/predict/batch", {"series": series}, X_Request_ID=name)
                if len(answered) > 500:
                    is_time.set()
        connection.close()

    async def all_connections(server: ServerProcess) -> None:
        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            for number in range(64):
                group.create_task(ask(number, server))
            await is_time.wait()
            server.process.send_signal(signal.SIGTERM)

    with running(measured=True, drain_grace_s="0.2") as (server, _):
        asyncio.run(all_connections(server))
        assert server.process.wait(30) == 0
        server.stop()
        read = {line["request_id"]: line["status"] for line in server.requests("/predict/batch")}
        assert read == answered
        assert set(answered.values()) <= {200, 503}
        assert sum(status == 200 for status in answered.values()) > 500


def test_on_sigterm_it_turns_unready_then_finishes_what_it_accepted_and_exits_with_0() -> None:
    server = ServerProcess(measured=True, drain_grace_s="1.5", batch_delay_s="1.0")
    url = server.wait_until_listening()
    answers: list[int] = []

    def ask() -> None:
        answers.append(
            httpx.post(f"{url}/predict", json={"prices": windows(1)[0].tolist()}, trust_env=False).status_code
        )

    try:
        waiting = threading.Thread(target=ask)  # sits out the delay while the server is told to stop
        waiting.start()
        server.process.send_signal(signal.SIGTERM)
        unready_reason = httpx.get(f"{url}/health/ready", trust_env=False)
        assert unready_reason.status_code == 503
        assert "shutting down" in unready_reason.json()["detail"]
        ask()  # within the grace, work is still taken
        waiting.join(30)
        code = server.process.wait(30)
    finally:
        server.stop()
    assert answers == [200, 200]
    assert code == 0


def test_a_second_signal_ends_it_at_once() -> None:
    server = ServerProcess(measured=True, drain_grace_s="60")
    server.wait_until_listening()
    server.process.send_signal(signal.SIGTERM)
    server.process.send_signal(signal.SIGINT)
    assert server.stop(signal.SIGINT, timeout_s=20) == 0


def test_a_second_signal_waits_for_no_engine_call() -> None:
    hangs = """
import sys, time
from app.inference.forecaster import Forecaster

def hang(*_):
    print("computing", file=sys.stderr, flush=True)
    time.sleep(600)

Forecaster.infer = hang
"""
    server = ServerProcess(measured=True, first=hangs, drain_grace_s="0", drain_deadline_s="300")
    url = server.wait_until_listening()

    def ask() -> None:
        body = {"series": [{"prices": row} for row in windows(2).tolist()]}
        with suppress(httpx.HTTPError):
            httpx.post(f"{url}/predict/batch", json=body, trust_env=False)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        for said in ("computing", "Shutting down"):
            until(said, partial(server.has_said, said))
            server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(30) == 0
    finally:
        server.stop()
        asking.join()


def test_where_the_system_knows_no_sighup_it_starts_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows."""
    monkeypatch.delattr(signal, "SIGHUP")
    monkeypatch.setattr(gc, "freeze", lambda: None)
    monkeypatch.setattr(gc, "set_threshold", lambda *_: None)
    lifecycle: Any = None
    config = uvicorn.Config("unused:unused", port=0, lifespan="off", log_config=None)

    async def start() -> None:
        with monkeypatch.context() as patched:
            patched.setattr("uvicorn.Server.startup", startup)
            await GracefulServer(config, lifecycle, lambda: None).startup()

    async def startup(*_: object, **__: object) -> None:
        started.append(None)

    started: list[None] = []
    asyncio.run(start())
    assert started == [None]


def test_a_setting_that_cannot_be_is_told_in_a_line_and_stops_the_start() -> None:
    for name, value, told in (
        ("port", "70000", "PRICECAST_PORT: "),
        ("max_queued_windows", "10", "settings: Value error, max_request_windows must not exceed"),
        ("colour", "red", "settings: Value error, no such setting: PRICECAST_COLOUR"),
        ("host", "0.0.0.0", "settings: Value error, others can reach 0.0.0.0, and there are no api_keys: make some"),
        ("api_keys", "pc_secret", "PRICECAST_API_KEYS: Value error, entry 1 is not CLIENT:SHA256"),
    ):
        environment = os.environ | {f"PRICECAST_{name.upper()}": value}
        ended = subprocess.run(
            [sys.executable, "-m", "app"], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60
        )
        assert ended.returncode == 2
        assert len(ended.stderr.splitlines()) == 1
        assert told in ended.stderr
        assert "Traceback" not in ended.stderr


def test_a_port_that_is_taken_is_told_and_stops_the_start(server: tuple[ServerProcess, httpx.Client]) -> None:
    second = ServerProcess(measured=True, port=server[0].url.rpartition(":")[2])
    try:
        assert second.process.wait(60) != 0
    finally:
        second.stop()
    assert second.has_said("address already in use")


def test_uvicorn_serves_the_factory_too() -> None:
    command = [sys.executable, "-m", "uvicorn", "--factory", "app.main:create_app", "--port", "0"]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            line = next(line for line in process.stderr if "running on" in line)
            url = line.split("running on ")[1].split()[0]
            assert httpx.get(f"{url}/health/ready", trust_env=False).status_code == 200
        finally:
            process.terminate()
            process.communicate(timeout=30)
    assert process.returncode in {0, -signal.SIGTERM}


def test_errors_leave_the_server_unharmed(server: tuple[ServerProcess, httpx.Client]) -> None:
    """Garbage on the socket, not only in the body."""
    for garbage in (
        b"\x00\xff\x16\x03\x01",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
    ):
        with socket.create_connection(server[0].address, timeout=10) as connection:
            connection.sendall(garbage)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(4096):
                pass
    assert server[1].post("/predict", json={"prices": windows(1)[0].tolist()}).status_code == 200
