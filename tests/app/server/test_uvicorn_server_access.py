"""A server on a public address: API keys, the separate metrics port, and an access log without keys."""

from collections.abc import Iterator
from typing import NamedTuple

import httpx
import pytest

from app import api_keys
from benchmarks.processes import free_port
from tests.prices import PRICES
from tests.server_process import ServerProcess, running_server, wait_until

pytestmark = pytest.mark.slow


class ProtectedServer(NamedTuple):
    """A server with API keys and a separate metrics port."""

    process: ServerProcess
    client: httpx.Client
    key: str  # a key of the client alice
    metrics_port: int

    @property
    def authorization(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.key}"}


@pytest.fixture(scope="module")
def protected() -> Iterator[ProtectedServer]:
    key, entry = api_keys.generate("alice")
    port = free_port()
    with running_server(with_coverage=True, host="0.0.0.0", api_keys=entry, metrics_port=str(port)) as (
        process,
        client,
    ):
        yield ProtectedServer(process, client, key, port)


def test_public_server_with_keys_requires_them(protected: ProtectedServer) -> None:
    client = protected.client
    assert protected.process.url.startswith("http://0.0.0.0:")
    body = {"prices": PRICES}
    assert client.post("/predict", json=body).status_code == 401
    assert client.post("/predict", json=body, headers=protected.authorization).status_code == 200
    assert client.get("/health/ready").status_code == 200


def test_public_server_without_keys_starts_if_allowed() -> None:
    with running_server(host="0.0.0.0", allow_public_without_keys="true") as (_, client):
        assert client.post("/predict", json={"prices": PRICES}).status_code == 200


def test_metrics_port_needs_no_key_and_replaces_the_main_port(protected: ProtectedServer) -> None:
    response = httpx.get(f"http://127.0.0.1:{protected.metrics_port}/metrics", trust_env=False)
    assert response.status_code == 200
    assert "pricecast_call_windows_sum" in response.text
    assert protected.client.get("/metrics", headers=protected.authorization).status_code == 404


def test_metrics_port_in_use_stops_the_startup(protected: ProtectedServer) -> None:
    second = ServerProcess(with_coverage=True, metrics_port=str(protected.metrics_port))
    with pytest.raises(AssertionError, match=f"cannot listen on 127.0.0.1:{protected.metrics_port}: "):
        second.wait_until_listening()
    assert second.stop() == 1
    assert not second.has_logged("Traceback")


def test_access_log_has_the_client_but_not_its_key(protected: ProtectedServer) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    headers = protected.authorization | {"traceparent": f"00-{trace}-b7ad6b7169203331-01"}
    assert protected.client.get("/models", headers=headers).headers["x-request-id"] == trace
    wait_until("the log line", lambda: protected.process.logged_requests("/models"))
    [line] = protected.process.logged_requests("/models")
    assert (line["request_id"], line["trace_id"], line["status"], line["client"]) == (trace, trace, 200, "alice")
    assert protected.key not in "".join(protected.process.log)
