"""A server process shuts down gracefully on the first signal and at once on the second."""

import asyncio
import itertools
import signal
import threading
from contextlib import suppress
from functools import partial

import httpx
import pytest

from tests.app.server.conftest import random_windows
from tests.prices import PRICES
from tests.server_process import HttpConnection, ServerProcess, running_server, wait_until

pytestmark = pytest.mark.slow


def test_sigterm_under_load_responds_to_every_read_request() -> None:
    series = [{"prices": window} for window in random_windows(4).tolist()]
    received: dict[str, int] = {}  # status by request ID
    has_load = asyncio.Event()

    async def send_requests(number: int, server: ServerProcess) -> None:
        connection = await HttpConnection.open(server)
        with suppress(ConnectionError):
            for i in itertools.count():
                name = f"{number}-{i}"
                received[name], _ = await connection.post("/predict/batch", {"series": series}, X_Request_ID=name)
                if len(received) > 500:
                    has_load.set()
        connection.close()

    async def run_connections(server: ServerProcess) -> None:
        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            for number in range(64):
                group.create_task(send_requests(number, server))
            await has_load.wait()
            server.process.send_signal(signal.SIGTERM)

    with running_server(with_coverage=True, drain_grace_s="0.2") as (server, _):
        asyncio.run(run_connections(server))
        assert server.process.wait(30) == 0
        server.stop()
        read = {line["request_id"]: line["status"] for line in server.logged_requests("/predict/batch")}
        assert read == received
        assert set(received.values()) <= {200, 503}
        assert sum(status == 200 for status in received.values()) > 500


def test_sigterm_reports_unready_then_drains_and_exits_with_0() -> None:
    server = ServerProcess(with_coverage=True, drain_grace_s="1.5", batch_delay_s="1.0")
    url = server.wait_until_listening()
    statuses: list[int] = []

    def send_request() -> None:
        statuses.append(httpx.post(f"{url}/predict", json={"prices": PRICES}, trust_env=False).status_code)

    try:
        queued = threading.Thread(target=send_request)  # waits for the batch delay while the server shuts down
        queued.start()
        server.process.send_signal(signal.SIGTERM)
        readiness = httpx.get(f"{url}/health/ready", trust_env=False)
        assert readiness.status_code == 503
        assert "shutting down" in readiness.json()["detail"]
        send_request()  # still accepted, during the grace period
        queued.join(30)
        code = server.process.wait(30)
    finally:
        server.stop()
    assert statuses == [200, 200]
    assert code == 0


def test_second_signal_exits_at_once() -> None:
    server = ServerProcess(with_coverage=True, drain_grace_s="60")
    server.wait_until_listening()
    server.process.send_signal(signal.SIGTERM)
    server.process.send_signal(signal.SIGINT)
    assert server.stop(signal.SIGINT, timeout_s=20) == 0


def test_second_signal_does_not_wait_for_an_engine_call() -> None:
    hanging_engine = """
import sys, time
from app.inference.forecaster import Forecaster

def hang(*_):
    print("computing", file=sys.stderr, flush=True)
    time.sleep(600)

Forecaster.infer = hang
"""
    server = ServerProcess(with_coverage=True, startup_code=hanging_engine, drain_grace_s="0", drain_deadline_s="300")
    url = server.wait_until_listening()

    def send_request() -> None:
        body = {"series": [{"prices": window} for window in random_windows(2).tolist()]}
        with suppress(httpx.HTTPError):
            httpx.post(f"{url}/predict/batch", json=body, trust_env=False)

    requesting = threading.Thread(target=send_request)
    requesting.start()
    try:
        for message in ("computing", "Shutting down"):
            wait_until(message, partial(server.has_logged, message))
            server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(30) == 0
    finally:
        server.stop()
        requesting.join()
