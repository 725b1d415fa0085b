"""Tests of the model repository endpoints."""

from pathlib import Path
from typing import Any

import pytest

from app.serving.model_runner import ModelRunner
from app.settings import Settings
from benchmarks.model_variants import publish_variant
from tests.app.api.app_client import AppClient, running_app
from tests.app.api.v2.infer_requests import INFER_PATH, error_message, json_request
from tests.app.artifact.artifact_files import current_path
from tests.conftest import version_of

INDEX_PATH = "/v2/repository/index"


def index(client: AppClient, **body: Any) -> dict[tuple[str, str | None], tuple[str, str]]:
    """Return the state and reason of each version, by name and version."""
    entries = client.post(INDEX_PATH, json=body).json()
    by_version = {(entry["name"], entry.get("version")): (entry["state"], entry["reason"]) for entry in entries}
    assert len(by_version) == len(entries)
    return by_version


def post_action(client: AppClient, name: str, action: str, **body: Any) -> dict[str, Any]:
    """Load or unload a model and return the response body."""
    response = client.post(f"/v2/repository/models/{name}/{action}", json=body)
    assert response.status_code == 200, response.text
    return dict(response.json())


def test_index_lists_served_versions_as_ready(client: AppClient) -> None:
    expected = {(name, version_of(name)): ("READY", "") for name in ("default", "tutorial")}
    assert index(client) == expected
    assert index(client, ready=True) == expected
    assert client.post(INDEX_PATH).json() == client.post(INDEX_PATH, content=b"{}").json()


def test_index_lists_unserved_versions_with_reason(models: Path) -> None:
    live = version_of("default")
    unserved, served, broken = (publish_variant(models, "default", 2.0, is_current=False) for _ in range(3))
    (models / "default" / broken / "model.onnx").write_bytes(b"nothing")
    (current_path(models, "tutorial") / "scaler.joblib").unlink()
    with running_app(Settings(models_dir=models, versions_served=2)) as client:
        entries = index(client)
        assert list(entries) == [
            *(("default", version) for version in (live, unserved, served, broken)),
            ("tutorial", version_of("tutorial")),
        ]
        assert entries["default", live] == ("READY", "")
        assert entries["default", served] == ("READY", "")
        assert entries["default", unserved] == ("UNAVAILABLE", "unloaded")
        assert entries["default", broken][0] == "UNAVAILABLE"
        assert f"default/{broken}/model.onnx: " in entries["default", broken][1]
        state, reason = entries["tutorial", version_of("tutorial")]
        assert state == "UNAVAILABLE"
        assert "scaler.joblib" in reason
        assert index(client, ready=True) == dict.fromkeys([("default", live), ("default", served)], ("READY", ""))


def test_index_lists_unreadable_model_without_version(models: Path, tmp_path: Path) -> None:
    (models / "tutorial" / "current").write_text("newest")
    with running_app(Settings(models_dir=models)) as client:
        entries = index(client)
        state, reason = entries["tutorial", None]
        assert state == "UNAVAILABLE"
        assert "tutorial/current: must contain a version number" in reason
    with running_app(Settings(models_dir=tmp_path / "none")) as client:
        [(model, (state, reason))] = index(client).items()
        assert (model, state) == (("default", None), "UNAVAILABLE")
        assert reason


def test_index_lists_stopped_batcher_as_unavailable(client: AppClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ModelRunner, "is_healthy", property(lambda runner: False))
    assert set(index(client).values()) == {("UNAVAILABLE", "it has failed and must be reloaded")}


def test_unloaded_model_can_be_loaded_again(models: Path) -> None:
    version = version_of("tutorial")
    with running_app(Settings(models_dir=models)) as client:
        unload = {"parameters": {"unload_dependents": False}}
        assert post_action(client, "tutorial", "unload", **unload) == {"name": "tutorial", "unload": True}
        assert client.get("/v2/models").json() == {"models": ["default"]}
        assert index(client)["tutorial", version] == ("UNAVAILABLE", "unloaded")
        response = client.get("/v2/models/tutorial/ready")
        assert (response.status_code, response.json()) == (503, {"name": "tutorial", "ready": False})
        assert error_message(client.post("/v2/models/tutorial/infer", json=json_request()), 404)
        assert error_message(client.post("/v2/repository/models/tutorial/unload"), 404)
        assert post_action(client, "tutorial", "load") == {"name": "tutorial", "load": True}
        assert index(client)["tutorial", version] == ("READY", "")
        assert client.post("/v2/models/tutorial/infer", json=json_request()).status_code == 200


def test_load_selects_version_by_number(models: Path) -> None:
    newer = publish_variant(models, "default", 2.0, is_current=False)
    with running_app(Settings(models_dir=models)) as client:
        assert client.post(INFER_PATH, json=json_request()).json()["model_version"] == version_of("default")
        post_action(client, "default", "load", parameters={"version": newer})
        assert client.post(INFER_PATH, json=json_request()).json()["model_version"] == newer


def test_load_and_unload_call_on_version_selected(models: Path) -> None:
    selections: list[str] = []
    with running_app(Settings(models_dir=models), lambda: selections.append("selected")) as client:
        client.post("/v2/repository/models/nope/load")
        assert selections == []
        post_action(client, "tutorial", "load")
        post_action(client, "tutorial", "unload")
        assert selections == ["selected", "selected"]


def test_v2_load_of_broken_version_changes_nothing(models: Path) -> None:
    broken = publish_variant(models, "default", 2.0, is_current=False)
    (models / "default" / broken / "model.onnx").write_bytes(b"nothing")
    with running_app(Settings(models_dir=models)) as client:
        load = {"parameters": {"version": broken}}
        assert "model.onnx" in error_message(client.post("/v2/repository/models/default/load", json=load), 409)
        assert client.post(INFER_PATH, json=json_request()).json()["model_version"] == version_of("default")


@pytest.mark.parametrize("parameter", ["config", "file:1/model.onnx", "a/b~" + "c" * 300])
def test_load_rejects_configuration_and_files(client: AppClient, parameter: str) -> None:
    body = {"parameters": {parameter: "{}"}}
    error = error_message(client.post("/v2/repository/models/default/load", json=body))
    assert "not supported by this server: models are loaded as published" in error
    assert error.startswith("/parameters/" + parameter.replace("~", "~0").replace("/", "~1")[:20])
    assert len(error) < 300


@pytest.mark.parametrize(
    ("path", "content", "status"),
    [
        (INDEX_PATH, b"[]", 400),
        (INDEX_PATH, b'{"ready": 1}', 400),
        (INDEX_PATH, b"{", 400),
        ("/v2/repository/models/default/load", b'{"parameters": {"version": 2}}', 400),
        ("/v2/repository/models/default/load", b'{"parameters": {"version": "two"}}', 400),
        ("/v2/repository/models/default/load", b'{"parameters": {"version": "99"}}', 404),
        ("/v2/repository/models/nope/load", b"", 404),
        ("/v2/repository/models/nope/unload", b"", 404),
        ("/v2/repository/models/default/unload", b'{"parameters": {"unload_dependents": "yes"}}', 400),
    ],
)
def test_invalid_repository_request_returns_error(client: AppClient, path: str, content: bytes, status: int) -> None:
    assert error_message(client.post(path, content=content), status)
