"""A server process over a real socket: startup, footprint, malformed traffic and clients that disconnect."""

import gzip
import http.client
import json
import os
import signal
import socket
import subprocess
import sys

import httpx
import psutil
import pytest

from tests.app.server.conftest import random_windows
from tests.conftest import ROOT, version_of
from tests.metrics_text import parse_metrics
from tests.prices import PRICES
from tests.server_process import ServerProcess, running_server

pytestmark = pytest.mark.slow


# Startup and footprint


def test_onnx_engine_imports_neither_tensorflow_nor_keras() -> None:
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


def test_server_with_both_models_uses_less_than_250_megabytes() -> None:
    with running_server() as (server, client):
        assert client.post("/predict", json={"prices": PRICES}).status_code == 200
        assert psutil.Process(server.process.pid).memory_info().rss < 250e6


def test_uvicorn_can_serve_the_factory() -> None:
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


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("port", "70000", "PRICECAST_PORT: "),
        ("max_queued_windows", "10", "PRICECAST_MAX_REQUEST_WINDOWS must not exceed"),
        ("color", "red", "unknown settings: PRICECAST_COLOR"),
        ("host", "0.0.0.0", "PRICECAST_API_KEYS is empty, but PRICECAST_HOST '0.0.0.0' is not a loopback address"),
        ("api_keys", "pc_secret", "PRICECAST_API_KEYS: entry 1 is not CLIENT:SHA256"),
    ],
)
def test_invalid_setting_prints_one_line_and_exits(name: str, value: str, message: str) -> None:
    environment = os.environ | {f"PRICECAST_{name.upper()}": value}
    result = subprocess.run(
        [sys.executable, "-m", "app"], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith(message)
    assert "Traceback" not in result.stderr


def test_port_in_use_stops_the_startup(server: tuple[ServerProcess, httpx.Client]) -> None:
    second = ServerProcess(with_coverage=True, port=server[0].url.rpartition(":")[2])
    try:
        assert second.process.wait(60) != 0
    finally:
        second.stop()
    assert second.has_logged("address already in use")


# Requests


def test_metrics_count_requests_and_windows() -> None:
    with running_server() as (_, client):
        for window in random_windows(5).tolist():
            client.post("/predict", json={"prices": window})
        client.post("/predict", json={"prices": []})
        client.post("/predict/batch", json={"series": [{"prices": window} for window in random_windows(100).tolist()]})
        samples = parse_metrics(client.get("/metrics").text)
    assert samples['pricecast_requests_total{method="POST",route="/predict",status="200"}'] == 5
    assert samples['pricecast_requests_total{method="POST",route="/predict",status="422"}'] == 1
    assert samples['pricecast_requests_total{method="POST",route="/predict/batch",status="200"}'] == 1
    assert samples["pricecast_call_windows_sum"] == 105
    version = version_of("tutorial")
    assert samples[f'pricecast_model_info{{engine="onnx",name="tutorial",version="{version}"}}'] == 1


def test_compressed_batch_is_accepted_and_zip_bomb_rejected(server: tuple[ServerProcess, httpx.Client]) -> None:
    process, client = server
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    plain_headers = headers | {"content-encoding": "identity"}
    batch = json.dumps({"series": [{"prices": window} for window in random_windows(100).tolist()]}).encode()
    body = client.post("/predict/batch", content=gzip.compress(batch), headers=headers).json()
    assert body == client.post("/predict/batch", content=batch, headers=plain_headers).json()
    memory_before = psutil.Process(process.process.pid).memory_info().rss
    bomb = gzip.compress(bytes(256 * 2**20))
    assert client.post("/predict/batch", content=bomb, headers=headers).status_code == 413
    assert psutil.Process(process.process.pid).memory_info().rss < memory_before + 64 * 2**20


def test_disconnected_client_is_dropped_before_the_engine_call() -> None:
    body = json.dumps({"prices": PRICES}).encode()
    head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    with running_server(with_coverage=True, batch_delay_s="1.0") as (server, client):
        with socket.create_connection(server.address) as connection:
            connection.sendall(head.encode() + body)
        for _ in range(200):
            metrics = client.get("/metrics").text
            if 'status="499"} 1.0' in metrics:
                break
        assert 'pricecast_requests_total{method="POST",route="/predict",status="499"} 1.0' in metrics
        assert client.post("/predict", json={"prices": PRICES}).status_code == 200
        assert "pricecast_call_windows_sum 1.0" in client.get("/metrics").text


def test_stalled_body_times_out_without_blocking_others(server: tuple[ServerProcess, httpx.Client]) -> None:
    process, client = server
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99\r\n"
    with socket.create_connection(process.address, timeout=30) as stalled:
        stalled.sendall(head + b"X-Request-Timeout-Ms: 50\r\n\r\n{")
        assert client.post("/predict", json={"prices": PRICES}).status_code == 200
        response = http.client.HTTPResponse(stalled)
        response.begin()
        assert response.status == 504
        assert json.loads(response.read())["type"] == "urn:pricecast:deadline-exceeded"
    assert client.get("/health/ready").status_code == 200


def test_no_response_reveals_the_server_software(server: tuple[ServerProcess, httpx.Client]) -> None:
    process, client = server
    for method, path in (("GET", "/docs"), ("GET", "/nowhere"), ("POST", "/predict"), ("GET", "/health/ready")):
        assert "server" not in client.request(method, path).headers
    with socket.create_connection(process.address, timeout=10) as connection:
        connection.sendall(b"no request at all\r\n\r\n")
        response = connection.makefile("rb").read().lower()
    assert response.startswith(b"http/1.1 400")
    assert b"server:" not in response
    assert b"uvicorn" not in response


def test_garbage_on_the_socket_does_not_harm_the_server(server: tuple[ServerProcess, httpx.Client]) -> None:
    process, client = server
    for garbage in (
        b"\x00\xff\x16\x03\x01",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
    ):
        with socket.create_connection(process.address, timeout=10) as connection:
            connection.sendall(garbage)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(4096):
                pass
    assert client.post("/predict", json={"prices": PRICES}).status_code == 200
