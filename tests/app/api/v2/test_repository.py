"""/v2/repository, in process: what could be served, what is, and how that changes."""

from pathlib import Path
from typing import Any

import pytest

from app.serving.model_runner import ModelRunner
from app.settings import Settings
from tests.app.api.conftest import Client, start
from tests.app.api.v2.test_infer import INFER, asked, refusal
from tests.app.artifact.artifact_files import current_path
from tests.conftest import version_of
from tests.model_variants import publish_variant

pytestmark = pytest.mark.slow

INDEX = "/v2/repository/index"


def index(client: Client, **body: Any) -> dict[tuple[str, str | None], tuple[str, str]]:
    """(state, reason) by name and version."""
    found = client.post(INDEX, json=body).json()
    by_version = {(each["name"], each.get("version")): (each["state"], each["reason"]) for each in found}
    assert len(by_version) == len(found)
    return by_version


def change(client: Client, name: str, what: str, **body: Any) -> dict[str, Any]:
    """Loads or unloads a model, and says what was answered."""
    response = client.post(f"/v2/repository/models/{name}/{what}", json=body)
    assert response.status_code == 200, response.text
    return dict(response.json())


def test_every_served_version_is_listed_as_ready(client: Client) -> None:
    expected = {(name, version_of(name)): ("READY", "") for name in ("default", "tutorial")}
    assert index(client) == expected
    assert index(client, ready=True) == expected
    assert client.post(INDEX).json() == client.post(INDEX, content=b"{}").json()


def test_what_is_published_and_not_served_is_listed_with_the_reason(models: Path) -> None:
    served = version_of("default")
    surplus, beside, broken = (publish_variant(models, "default", 2.0, is_current=False) for _ in range(3))
    (models / "default" / broken / "model.onnx").write_bytes(b"nothing")
    (current_path(models, "tutorial") / "scaler.joblib").unlink()
    for client in start(Settings(models_dir=models, versions_served=2)):
        found = index(client)
        assert list(found) == [
            *(("default", version) for version in (served, surplus, beside, broken)),
            ("tutorial", version_of("tutorial")),
        ]
        assert found["default", served] == ("READY", "")
        assert found["default", beside] == ("READY", "")
        assert found["default", surplus] == ("UNAVAILABLE", "unloaded")
        assert found["default", broken][0] == "UNAVAILABLE"
        assert f"default/{broken}/model.onnx: " in found["default", broken][1]
        state, reason = found["tutorial", version_of("tutorial")]
        assert state == "UNAVAILABLE"
        assert "scaler.joblib" in reason
        assert index(client, ready=True) == dict.fromkeys([("default", served), ("default", beside)], ("READY", ""))


def test_a_model_of_no_readable_version_is_listed_without_one(models: Path, tmp_path: Path) -> None:
    (models / "tutorial" / "current").write_text("newest")
    for client in start(Settings(models_dir=models)):
        found = index(client)
        state, reason = found["tutorial", None]
        assert state == "UNAVAILABLE"
        assert "tutorial/current: it must hold a version number" in reason
    for client in start(Settings(models_dir=tmp_path / "none")):
        [(where, (state, reason))] = index(client).items()
        assert (where, state) == (("default", None), "UNAVAILABLE")
        assert reason


def test_a_version_whose_batcher_has_stopped_is_unavailable(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ModelRunner, "is_healthy", property(lambda runner: False))
    assert set(index(client).values()) == {("UNAVAILABLE", "its batcher has stopped")}


def test_a_model_is_unloaded_and_loaded_again(models: Path) -> None:
    version = version_of("tutorial")
    for client in start(Settings(models_dir=models)):
        unload = {"parameters": {"unload_dependents": False}}
        assert change(client, "tutorial", "unload", **unload) == {"name": "tutorial", "unload": True}
        assert client.get("/v2/models").json() == {"models": ["default"]}
        assert index(client)["tutorial", version] == ("UNAVAILABLE", "unloaded")
        response = client.get("/v2/models/tutorial/ready")
        assert (response.status_code, response.json()) == (503, {"name": "tutorial", "ready": False})
        assert refusal(client.post("/v2/models/tutorial/infer", json=asked()), 404)
        assert refusal(client.post("/v2/repository/models/tutorial/unload"), 404)
        assert change(client, "tutorial", "load") == {"name": "tutorial", "load": True}
        assert index(client)["tutorial", version] == ("READY", "")
        assert client.post("/v2/models/tutorial/infer", json=asked()).status_code == 200


def test_a_version_is_loaded_by_its_number(models: Path) -> None:
    newer = publish_variant(models, "default", 2.0, is_current=False)
    for client in start(Settings(models_dir=models)):
        assert client.post(INFER, json=asked()).json()["model_version"] == version_of("default")
        change(client, "default", "load", parameters={"version": newer})
        assert client.post(INFER, json=asked()).json()["model_version"] == newer


def test_other_workers_are_told_of_what_was_chosen(models: Path) -> None:
    told: list[str] = []
    for client in start(Settings(models_dir=models), lambda: told.append("chosen")):
        client.post("/v2/repository/models/nope/load")
        assert told == []
        change(client, "tutorial", "load")
        change(client, "tutorial", "unload")
        assert told == ["chosen", "chosen"]


def test_a_version_that_fails_its_checks_changes_nothing(models: Path) -> None:
    broken = publish_variant(models, "default", 2.0, is_current=False)
    (models / "default" / broken / "model.onnx").write_bytes(b"nothing")
    for client in start(Settings(models_dir=models)):
        load = {"parameters": {"version": broken}}
        assert "model.onnx" in refusal(client.post("/v2/repository/models/default/load", json=load), 409)
        assert client.post(INFER, json=asked()).json()["model_version"] == version_of("default")


@pytest.mark.parametrize("parameter", ["config", "file:1/model.onnx", "a/b~" + "c" * 300])
def test_a_model_is_loaded_only_as_it_was_published(client: Client, parameter: str) -> None:
    body = {"parameters": {parameter: "{}"}}
    error = refusal(client.post("/v2/repository/models/default/load", json=body))
    assert "this is not supported here: a model is served as it was published" in error
    assert error.startswith("/parameters/" + parameter.replace("~", "~0").replace("/", "~1")[:20])
    assert len(error) < 300


@pytest.mark.parametrize(
    ("path", "content", "status"),
    [
        (INDEX, b"[]", 400),
        (INDEX, b'{"ready": 1}', 400),
        (INDEX, b"{", 400),
        ("/v2/repository/models/default/load", b'{"parameters": {"version": 2}}', 400),
        ("/v2/repository/models/default/load", b'{"parameters": {"version": "two"}}', 400),
        ("/v2/repository/models/default/load", b'{"parameters": {"version": "99"}}', 404),
        ("/v2/repository/models/nope/load", b"", 404),
        ("/v2/repository/models/nope/unload", b"", 404),
        ("/v2/repository/models/default/unload", b'{"parameters": {"unload_dependents": "yes"}}', 400),
    ],
)
def test_what_cannot_be_done_is_refused(client: Client, path: str, content: bytes, status: int) -> None:
    assert refusal(client.post(path, content=content), status)


@pytest.mark.parametrize(
    ("origin", "welcome", "status"),
    [
        (None, (), 200), ("http://test", (), 200), ("http://elsewhere", (), 403), ("null", (), 403),
        ("http://elsewhere", ("http://elsewhere",), 200), ("http://elsewhere", ("*",), 200),
    ],
)  # fmt: skip
def test_a_page_of_another_site_changes_nothing(
    shipped: Path, origin: str | None, welcome: tuple[str, ...], status: int
) -> None:
    for client in start(Settings(models_dir=shipped, cors_origins=welcome)):
        headers = {} if origin is None else {"origin": origin}
        response = client.post("/v2/repository/models/tutorial/unload", headers=headers)
        assert response.status_code == status, response.text
        assert ("tutorial" in client.app.lifecycle.registry.models) == (status == 403)
