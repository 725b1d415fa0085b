"""Tests of the model endpoints: listing models and loading versions."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from app.artifact import store
from app.settings import Settings
from tests.app.api.app_client import JSON_HEADERS, AppClient, running_app
from tests.app.api.model_versions import (
    VersionedServer,
    assert_from_one_version,
    interval_bounds,
    interval_request,
    versioned_server,
)
from tests.app.artifact.artifact_files import current_path
from tests.conftest import version_of
from tests.prices import PRICES, random_walk_windows


@pytest.fixture(scope="module")
def module_server(shipped: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[VersionedServer]:
    with versioned_server(shipped, tmp_path_factory.mktemp("versions")) as server:
        yield server


@pytest.fixture
def server(module_server: VersionedServer) -> VersionedServer:
    """The module's server, with the first version live."""
    assert module_server.load(module_server.first).status_code == 200
    module_server.selections.clear()
    return module_server


# Listing


def test_list_models_has_evidence_summaries(client: AppClient) -> None:
    body = client.get("/models").json()
    assert [(model["name"], model["default"]) for model in body["models"]] == [("default", True), ("tutorial", False)]
    assert all(model["summary"] and model["point_skill"] in {"none", "some"} for model in body["models"])
    assert all(model["versions"] == [model["version"]] for model in body["models"])
    assert body["failures"] == {}


def test_get_model_has_evidence(client: AppClient) -> None:
    body = client.get("/models/tutorial").json()
    assert body["point_skill"] == "none"
    assert "repeating the last price" in body["summary"]
    [score] = body["evidence"]["scores"]
    assert score["instrument"] == "GOOG"
    assert score["rmse"] > score["rmse_last_price"]
    assert body["network"]["units"] == [50, 50, 50, 50]
    assert body["recipe"]["training"]["epochs"] == 100
    assert body["engine"] == "onnx"
    assert client.get(f"/models/tutorial/versions/{body['version']}").json() == body


def test_get_unserved_model_or_version_returns_404(client: AppClient) -> None:
    for path in ("/models/nope", "/models/default/versions/99", "/models/default/versions/x"):
        response = client.get(path)
        assert (response.status_code, response.json()["type"]) == (404, "urn:pricecast:unknown-model")


def test_broken_model_is_listed_and_others_are_served(models: Path) -> None:
    (current_path(models, "tutorial") / "model.onnx").write_bytes(b"nothing")
    with running_app(Settings(models_dir=models)) as client:
        body = client.get("/models").json()
        assert [model["name"] for model in body["models"]] == ["default"]
        assert body["failures"]["tutorial"].startswith(f"tutorial/{version_of('tutorial')}/model.onnx: ")
        assert client.get("/models/tutorial").status_code == 503
        assert client.get("/health/ready").status_code == 200


# Loading


def test_load_switches_to_another_version_and_back(server: VersionedServer) -> None:
    client, first, wide, broken, selections, models_dir = server
    windows = random_walk_windows(3, seed=5)
    before = client.post("/predict/batch", json=interval_request(windows)).json()
    assert assert_from_one_version(server, before, windows) == first
    for version in (wide, first, wide):
        response = server.load(version)
        assert (response.status_code, response.json()["version"]) == (200, version)
        assert response.json()["versions"] == [first, wide, broken]
        assert response.json()["served_versions"] == [first, wide]
        assert store.current_version(models_dir, "default") == version
        assert client.get("/models/default").json()["version"] == version
        after = client.post("/predict/batch", json=interval_request(windows)).json()
        assert assert_from_one_version(server, after, windows) == version
    (lower, upper), (wider_lower, wider_upper) = interval_bounds(before)[0], interval_bounds(after)[0]
    assert wider_upper - wider_lower > 2 * (upper - lower)
    assert len(selections) == 3


def test_previous_version_stays_available_by_number(server: VersionedServer) -> None:
    client, first, wide, *_ = server
    server.load(wide)
    windows = random_walk_windows(2, seed=5)
    for version in (first, wide):
        body = client.post("/predict/batch", json=interval_request(windows) | {"model": f"default@{version}"}).json()
        assert assert_from_one_version(server, body, windows) == version
        assert client.get(f"/models/default/versions/{version}").json()["version"] == version


@pytest.mark.parametrize("path", ["/models/nope/load", "/models/../load", "/models/Default/load", "/models/%2e/load"])
def test_load_unknown_model_returns_404(server: VersionedServer, path: str) -> None:
    response = server.client.post(path, json={"version": "1"})
    assert response.status_code == 404
    assert server.selections == []


def test_load_unknown_version_returns_404_and_changes_nothing(server: VersionedServer) -> None:
    response = server.load("4711")
    assert (response.status_code, response.json()["type"]) == (404, "urn:pricecast:unknown-model")
    assert "4711" in response.json()["detail"]
    assert server.client.get("/models/default").json()["version"] == server.first
    assert server.selections == []


def test_load_broken_version_returns_409_and_keeps_serving(
    server: VersionedServer, caplog: pytest.LogCaptureFixture
) -> None:
    client, first, _, broken, selections, models_dir = server
    before = client.metrics()['pricecast_load_failures_total{name="default"}']
    response = server.load(broken)
    assert (response.status_code, response.json()["type"]) == (409, "urn:pricecast:artifact-unusable")
    assert "model.onnx: size or SHA-256 does not match" in response.json()["detail"]
    assert str(models_dir) not in response.text, "do not expose directory names to clients"
    assert f"cannot load default@{broken}: " in caplog.text
    assert client.metrics()['pricecast_load_failures_total{name="default"}'] == before + 1

    windows = random_walk_windows(2, seed=5)
    assert (
        assert_from_one_version(server, client.post("/predict/batch", json=interval_request(windows)).json(), windows)
        == first
    )
    detail = client.get("/models/default").json()
    assert (detail["version"], detail["versions"][-1]) == (first, broken)
    reason = "size or SHA-256 does not match the manifest"
    assert detail["failures"] == {f"default@{broken}": f"default/{broken}/model.onnx: {reason}"}
    assert client.get("/models").json()["failures"] == detail["failures"]
    assert client.get("/models/tutorial").json()["failures"] == {}
    assert client.get("/health/ready").status_code == 200
    assert store.current_version(models_dir, "default") == first
    assert selections == []


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        (b"{}", "/version"),
        (b'{"version": 3}', "/version"),
        (b'{"version": ""}', "/version"),
        (b'{"version": "0"}', "/version"),
        (b'{"version": "../2"}', "/version"),
        (b'{"version": null}', "/version"),
        (b'{"version": "2", "force": true}', "/force"),
        (b"[]", ""),
        (b"2", ""),
        (b"", ""),
        (b'{"version"', ""),
    ],
)
def test_load_invalid_body_returns_pointer(server: VersionedServer, body: bytes, pointer: str) -> None:
    response = server.client.post("/models/default/load", content=body, headers=JSON_HEADERS)
    assert (response.status_code, response.json()["type"]) == (422, "urn:pricecast:invalid-content")
    assert [error["pointer"] for error in response.json()["errors"]] == [pointer]
    assert server.selections == []


def test_load_without_json_content_type_returns_415(server: VersionedServer) -> None:
    content = b'{"version": "2"}'
    for headers in ({}, {"content-type": "text/plain"}, JSON_HEADERS | {"content-encoding": "br"}):
        assert server.client.post("/models/default/load", content=content, headers=headers).status_code == 415


def test_load_oversized_body_returns_413(server: VersionedServer) -> None:
    response = server.client.post("/models/default/load", content=bytes(5 * 2**20), headers=JSON_HEADERS)
    assert response.status_code == 413


def test_load_never_mixes_versions_in_one_response(server: VersionedServer) -> None:
    client, first, wide, *_ = server
    windows = random_walk_windows(8, seed=5)

    async def switch_versions(http: httpx.AsyncClient) -> list[httpx.Response]:
        requests: list[asyncio.Task[httpx.Response]] = []
        for i in range(20):
            requests += [
                asyncio.create_task(http.post("/predict/batch", json=interval_request(windows))) for _ in range(4)
            ]
            for _ in range(i):
                await asyncio.sleep(0)
            loaded = await http.post("/models/default/load", json={"version": (wide, first)[i % 2]})
            assert loaded.status_code == 200
        return await asyncio.gather(*requests)

    responses: list[httpx.Response] = client.run(switch_versions)
    assert {response.status_code for response in responses} == {200}
    expected = {version: server.expected_bounds(version, windows) for version in (first, wide)}
    bodies = [response.json() for response in responses]
    assert {body["model"]["version"] for body in bodies} == {first, wide}
    for body in bodies:
        np.testing.assert_allclose(interval_bounds(body), expected[body["model"]["version"]], rtol=1e-5)


@pytest.mark.parametrize(
    "versions_served", [2, 1], ids=["previous version stays served", "previous version is retired"]
)
def test_load_lets_requests_in_flight_finish(shipped: Path, tmp_path: Path, versions_served: int) -> None:
    """Each version waits for a batch of six windows, for longer than the test takes."""
    windows = random_walk_windows(6, seed=5)

    async def switch_versions(http: httpx.AsyncClient) -> list[httpx.Response]:
        registry = live_server.client.app.lifecycle.registry
        early = [
            asyncio.create_task(http.post("/predict/batch", json=interval_request(window[None])))
            for window in windows[:5]
        ]
        for _ in range(100):
            await asyncio.sleep(0)
        assert registry.get().runner.batcher.windows_in_flight == 5
        loaded = await http.post("/models/default/load", json={"version": live_server.wide})
        assert loaded.json()["version"] == live_server.wide
        late = await http.post("/predict/batch", json=interval_request(windows))
        if versions_served == 2:  # a retired version does not wait for more windows
            sixth = interval_request(windows[5:]) | {"model": f"default@{live_server.first}"}
            early.append(asyncio.create_task(http.post("/predict/batch", json=sixth)))
        return [*await asyncio.gather(*early), late]

    settings = {"batch_delay_s": 1.0, "max_batch_windows": 6, "engine_threads": 1, "versions_served": versions_served}
    with versioned_server(shipped, tmp_path, **settings) as live_server:
        *early, late = live_server.client.run(switch_versions)
        for window, response in zip(windows, early, strict=False):
            assert assert_from_one_version(live_server, response.json(), window[None]) == live_server.first
        assert assert_from_one_version(live_server, late.json(), windows) == live_server.wide
        served = [live_server.first, live_server.wide][-versions_served:]
        assert live_server.client.get("/models/default").json()["served_versions"] == served
        metrics = live_server.client.metrics()
        for version in (live_server.first, live_server.wide):
            info = f'pricecast_model_info{{engine="onnx",name="default",version="{version}"}}'
            assert metrics[info] == (version in served)


def test_ready_while_default_model_is_unloaded_returns_503(server: VersionedServer) -> None:
    client = server.client
    client.run(lambda _: client.app.lifecycle.registry.unload("default"))
    assert client.get("/health/ready").status_code == 503
    assert client.post("/predict", json={"prices": PRICES}).status_code == 404
    assert client.post("/predict", json={"prices": PRICES, "model": "tutorial"}).status_code == 200
    server.load(server.first)
    assert client.get("/health/ready").status_code == 200
    assert client.post("/predict", json={"prices": PRICES}).status_code == 200
