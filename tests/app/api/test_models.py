"""/models and its children: what is served, in which versions, and how another one gets its turn."""

import asyncio
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import numpy as np
import pytest

from app.artifact import store
from app.artifact.transform import F64
from app.inference.forecaster import load_forecaster
from app.settings import Settings
from tests.app.api.conftest import Client, start
from tests.app.artifact.artifact_files import current_path
from tests.conftest import version_of
from tests.model_variants import publish_variant

JSON = {"content-type": "application/json"}
PRICES = [100.0 + i % 7 for i in range(60)]


class Swappable(NamedTuple):
    """A server with versions to choose from, all of the default model."""

    client: Client
    first: str  # which the server begins with
    wide: str  # whose intervals are three times as wide
    broken: str
    chosen: list[None]  # one for each choice of an administrator
    models_dir: Path

    def load(self, version: str, **how: Any) -> httpx.Response:
        return self.client.post("/models/default/load", json={"version": version}, **how)

    def expected(self, version: str, windows: F64) -> list[list[float]]:
        """The ends of the widest interval one step ahead, of each window."""
        quantiles = load_forecaster(store.read_version(self.models_dir, "default", version), "onnx").forecast(windows)
        return list(quantiles[:, 0, [0, -1]].tolist())


def publish_broken(models_dir: Path, of: str) -> str:
    """Publishes a copy of a version of the default model with another network than its manifest says."""
    version = str(int(store.versions(models_dir, "default")[-1]) + 1)
    path = Path(shutil.copytree(models_dir / "default" / of, models_dir / "default" / version))
    (path / "model.onnx").write_bytes(b"nothing")
    return version


def versions_to_choose_from(shipped: Path, home: Path, **settings: Any) -> Iterator[Swappable]:
    models_dir = Path(shutil.copytree(shipped, home / "models"))
    first = version_of("default")
    wide = publish_variant(models_dir, "default", 3.0, is_current=False)
    broken = publish_broken(models_dir, first)
    chosen: list[None] = []
    for client in start(Settings(models_dir=models_dir, models_poll_s=0, **settings), lambda: chosen.append(None)):
        yield Swappable(client, first, wide, broken, chosen, models_dir)


@pytest.fixture(scope="module")
def shared(shipped: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swappable]:
    yield from versions_to_choose_from(shipped, tmp_path_factory.mktemp("swappable"))


@pytest.fixture
def swappable(shared: Swappable) -> Swappable:
    """It begins with the first version."""
    assert shared.load(shared.first).status_code == 200
    shared.chosen.clear()
    return shared


def windows(count: int) -> F64:
    """(count, 60) prices, no two windows alike."""
    rng = np.random.default_rng(5)
    prices: F64 = 100 * np.exp(rng.normal(scale=0.01, size=(count, 60)).cumsum(axis=1))
    return prices


def question(rows: F64) -> dict[str, Any]:
    return {"series": [{"prices": row} for row in rows.tolist()], "levels": [95]}


def ends(answer: Any) -> list[list[float]]:
    """What `Swappable.expected` expects, of an answer to `question`."""
    return [[*each["intervals"]["95"]["lower"], *each["intervals"]["95"]["upper"]] for each in answer["forecasts"]]


def assert_from_one_version(swappable: Swappable, answer: Any, rows: F64) -> str:
    """That an answer is all from the version that it names, which is returned."""
    version = str(answer["model"]["version"])
    np.testing.assert_allclose(ends(answer), swappable.expected(version, rows), rtol=1e-5)
    return version


# What is served


def test_every_served_model_is_listed_with_its_evidence_in_a_sentence(client: Client) -> None:
    body = client.get("/models").json()
    assert [(each["name"], each["default"]) for each in body["models"]] == [("default", True), ("tutorial", False)]
    assert all(each["summary"] and each["point_skill"] in {"none", "some"} for each in body["models"])
    assert all(each["versions"] == [each["version"]] for each in body["models"])
    assert body["failures"] == {}


def test_a_model_page_carries_the_evidence_as_data(client: Client) -> None:
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


def test_what_is_not_served_is_not_found(client: Client) -> None:
    for path in ("/models/nope", "/models/default/versions/99", "/models/default/versions/x"):
        response = client.get(path)
        assert (response.status_code, response.json()["type"]) == (404, "urn:pricecast:unknown-model")


def test_a_broken_model_is_told_and_the_others_are_served(models: Path) -> None:
    (current_path(models, "tutorial") / "model.onnx").write_bytes(b"nothing")
    for client in start(Settings(models_dir=models)):
        body = client.get("/models").json()
        assert [each["name"] for each in body["models"]] == ["default"]
        assert body["failures"]["tutorial"].startswith(f"tutorial/{version_of('tutorial')}/model.onnx: ")
        assert client.get("/models/tutorial").status_code == 503
        assert client.get("/health/ready").status_code == 200


def test_without_its_default_model_the_server_is_not_ready_and_says_why(models: Path) -> None:
    (current_path(models, "default") / "scaler.joblib").unlink()
    for client in start(Settings(models_dir=models)):
        response = client.get("/health/ready")
        assert response.status_code == 503
        assert f"default/{version_of('default')}/scaler.joblib" in response.json()["detail"]
        assert client.get("/health/live").status_code == 200
        assert client.get("/models/tutorial").status_code == 200


def test_without_any_models_the_server_answers_and_is_not_ready(tmp_path: Path) -> None:
    for client in start(Settings(models_dir=tmp_path / "none")):
        assert client.get("/health/ready").status_code == 503
        assert client.get("/models").json()["models"] == []
        assert client.post("/predict", json={"prices": [1.0] * 60}).status_code == 503


# Another version


def test_a_version_is_put_in_the_place_of_another_and_back(swappable: Swappable) -> None:
    client, first, wide, broken, chosen, models_dir = swappable
    rows = windows(3)
    before = client.post("/predict/batch", json=question(rows)).json()
    assert assert_from_one_version(swappable, before, rows) == first
    for version in (wide, first, wide):
        response = swappable.load(version)
        assert (response.status_code, response.json()["version"]) == (200, version)
        assert response.json()["versions"] == [first, wide, broken]
        assert response.json()["served_versions"] == [first, wide]
        assert store.current_version(models_dir, "default") == version
        assert client.get("/models/default").json()["version"] == version
        after = client.post("/predict/batch", json=question(rows)).json()
        assert assert_from_one_version(swappable, after, rows) == version
    (lower, upper), (wider_lower, wider_upper) = ends(before)[0], ends(after)[0]
    assert wider_upper - wider_lower > 2 * (upper - lower)
    assert len(chosen) == 3


def test_the_version_that_was_live_before_is_served_on_by_its_number(swappable: Swappable) -> None:
    client, first, wide, *_ = swappable
    swappable.load(wide)
    rows = windows(2)
    for version in (first, wide):
        answer = client.post("/predict/batch", json=question(rows) | {"model": f"default@{version}"}).json()
        assert assert_from_one_version(swappable, answer, rows) == version
        assert client.get(f"/models/default/versions/{version}").json()["version"] == version


@pytest.mark.parametrize("path", ["/models/nope/load", "/models/../load", "/models/Default/load", "/models/%2e/load"])
def test_of_an_unknown_model_no_version_is_loaded(swappable: Swappable, path: str) -> None:
    response = swappable.client.post(path, json={"version": "1"})
    assert response.status_code == 404
    assert swappable.chosen == []


def test_an_unknown_version_is_not_found_and_changes_nothing(swappable: Swappable) -> None:
    response = swappable.load("4711")
    assert (response.status_code, response.json()["type"]) == (404, "urn:pricecast:unknown-model")
    assert "4711" in response.json()["detail"]
    assert swappable.client.get("/models/default").json()["version"] == swappable.first
    assert swappable.chosen == []


def test_a_version_that_must_not_be_served_is_refused_with_the_reason_and_the_live_one_answers_on(
    swappable: Swappable, caplog: pytest.LogCaptureFixture
) -> None:
    client, first, _, broken, chosen, models_dir = swappable
    before = client.metrics()['pricecast_load_failures_total{name="default"}']
    response = swappable.load(broken)
    assert (response.status_code, response.json()["type"]) == (409, "urn:pricecast:artifact-unusable")
    assert "model.onnx: its content differs" in response.json()["detail"]
    assert str(models_dir) not in response.text, "where it lies is nobody's business but the log's"
    assert f"default@{broken} is not served" in caplog.text
    assert client.metrics()['pricecast_load_failures_total{name="default"}'] == before + 1

    rows = windows(2)
    assert assert_from_one_version(swappable, client.post("/predict/batch", json=question(rows)).json(), rows) == first
    detail = client.get("/models/default").json()
    assert (detail["version"], detail["versions"][-1]) == (first, broken)
    reason = "its content differs from what was published (size or SHA-256)"
    assert detail["failures"] == {f"default@{broken}": f"default/{broken}/model.onnx: {reason}"}
    assert client.get("/models").json()["failures"] == detail["failures"]
    assert client.get("/models/tutorial").json()["failures"] == {}
    assert client.get("/health/ready").status_code == 200
    assert store.current_version(models_dir, "default") == first
    assert chosen == []


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
def test_a_choice_that_is_none_is_told_the_place(swappable: Swappable, body: bytes, pointer: str) -> None:
    response = swappable.client.post("/models/default/load", content=body, headers=JSON)
    assert (response.status_code, response.json()["type"]) == (422, "urn:pricecast:invalid-content")
    assert [fault["pointer"] for fault in response.json()["errors"]] == [pointer]
    assert swappable.chosen == []


def test_a_choice_that_is_not_said_to_be_json_is_not_read(swappable: Swappable) -> None:
    content = b'{"version": "2"}'
    for headers in ({}, {"content-type": "text/plain"}, JSON | {"content-encoding": "br"}):
        assert swappable.client.post("/models/default/load", content=content, headers=headers).status_code == 415


def test_a_choice_that_is_too_long_is_not_read(swappable: Swappable) -> None:
    response = swappable.client.post("/models/default/load", content=bytes(5 * 2**20), headers=JSON)
    assert response.status_code == 413


def test_each_answer_is_from_one_version_however_often_they_change_places(swappable: Swappable) -> None:
    client, first, wide, *_ = swappable
    rows = windows(8)

    async def swap(http: httpx.AsyncClient) -> list[httpx.Response]:
        asked: list[asyncio.Task[httpx.Response]] = []
        for i in range(20):
            asked += [asyncio.create_task(http.post("/predict/batch", json=question(rows))) for _ in range(4)]
            for _ in range(i):
                await asyncio.sleep(0)
            loaded = await http.post("/models/default/load", json={"version": (wide, first)[i % 2]})
            assert loaded.status_code == 200
        return await asyncio.gather(*asked)

    responses: list[httpx.Response] = client.run(swap)
    assert {response.status_code for response in responses} == {200}
    own = {version: swappable.expected(version, rows) for version in (first, wide)}
    said = [response.json() for response in responses]
    assert {answer["model"]["version"] for answer in said} == {first, wide}
    for answer in said:
        np.testing.assert_allclose(ends(answer), own[answer["model"]["version"]], rtol=1e-5)


@pytest.mark.parametrize("versions_served", [2, 1], ids=["which is served on", "which is retired"])
def test_what_is_under_way_is_answered_by_the_version_it_began_with(
    shipped: Path, tmp_path: Path, versions_served: int
) -> None:
    """Each version waits for six windows to come together, longer than this test takes."""
    rows = windows(6)

    async def swap(http: httpx.AsyncClient) -> list[httpx.Response]:
        registry = server.client.app.lifecycle.registry
        early = [asyncio.create_task(http.post("/predict/batch", json=question(row[None]))) for row in rows[:5]]
        for _ in range(100):
            await asyncio.sleep(0)
        assert registry.get().runner.batcher.windows_in_flight == 5
        loaded = await http.post("/models/default/load", json={"version": server.wide})
        assert loaded.json()["version"] == server.wide
        late = await http.post("/predict/batch", json=question(rows))
        if versions_served == 2:  # one that is retired waits no longer
            sixth = question(rows[5:]) | {"model": f"default@{server.first}"}
            early.append(asyncio.create_task(http.post("/predict/batch", json=sixth)))
        return [*await asyncio.gather(*early), late]

    settings = {"batch_delay_s": 1.0, "max_batch_windows": 6, "engine_threads": 1, "versions_served": versions_served}
    for server in versions_to_choose_from(shipped, tmp_path, **settings):
        *early, late = server.client.run(swap)
        for row, response in zip(rows, early, strict=False):
            assert assert_from_one_version(server, response.json(), row[None]) == server.first
        assert assert_from_one_version(server, late.json(), rows) == server.wide
        served = [server.first, server.wide][-versions_served:]
        assert server.client.get("/models/default").json()["served_versions"] == served
        metrics = server.client.metrics()
        for version in (server.first, server.wide):
            info = f'pricecast_model_info{{engine="onnx",name="default",version="{version}"}}'
            assert metrics[info] == (version in served)


def test_while_its_default_model_is_unloaded_the_server_is_not_ready(swappable: Swappable) -> None:
    client = swappable.client
    client.run(lambda _: client.app.lifecycle.registry.unload("default"))
    assert client.get("/health/ready").status_code == 503
    assert client.post("/predict", json={"prices": PRICES}).status_code == 404
    assert client.post("/predict", json={"prices": PRICES, "model": "tutorial"}).status_code == 200
    swappable.load(swappable.first)
    assert client.get("/health/ready").status_code == 200
    assert client.post("/predict", json={"prices": PRICES}).status_code == 200


# What is published meanwhile


@pytest.fixture
def watching(models: Path) -> Iterator[Client]:
    """A server that looks at its models directory again and again."""
    yield from start(Settings(models_dir=models, models_poll_s=0.01))


def wait_until(client: Client, what: str, holds: Callable[[], object]) -> None:
    """Lets the server live until `holds()`, and fails if it never does."""

    for _ in range(3000):
        if holds():
            return
        client.run(lambda _: asyncio.sleep(0.01))
    pytest.fail(f"never: {what}")


def live(client: Client) -> str:
    return client.app.lifecycle.registry.get().manifest.version


def test_what_is_published_is_served_without_anybody_asking(watching: Client, models: Path) -> None:
    wide = publish_variant(models, "default", 3.0)
    wait_until(watching, "the version just published", lambda: live(watching) == wide)
    store.write_current(models, "default", version_of("default"))
    wait_until(watching, "the way back", lambda: live(watching) == version_of("default"))
    shutil.copytree(models / "tutorial", models / "another")
    wait_until(watching, "a failure", lambda: "another" in watching.app.lifecycle.registry.failures)
    assert "names another model" in watching.get("/models").json()["failures"]["another"]


def test_a_broken_version_that_is_published_is_told_and_the_old_one_goes_on(
    watching: Client, models: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broken = publish_broken(models, version_of("default"))
    store.write_current(models, "default", broken)
    wait_until(watching, "a failure", lambda: "default" in watching.app.lifecycle.registry.failures)
    body = watching.get("/models").json()
    assert body["models"][0]["version"] == version_of("default")
    assert body["failures"]["default"].startswith(f"default/{broken}/model.onnx: ")
    assert f"{broken}/model.onnx: its content differs" in caplog.text
    assert watching.get("/health/ready").status_code == 200
    assert watching.post("/predict", json={"prices": PRICES}).status_code == 200
    told = len(caplog.records)
    watching.run(lambda _: asyncio.sleep(0.05))
    assert len(caplog.records) == told, "it is not tried again and again"


def test_a_look_that_fails_is_told_and_is_not_the_last(
    watching: Client, models: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(models_dir: Path) -> list[str]:
        raise RuntimeError("secret-4711")

    with monkeypatch.context() as patched:
        patched.setattr(store, "model_names", broken)
        wait_until(watching, "a line of it", lambda: "could not be looked through" in caplog.text)
        assert watching.post("/predict", json={"prices": PRICES}).status_code == 200
    wide = publish_variant(models, "default", 3.0)
    wait_until(watching, "the version just published", lambda: live(watching) == wide)
