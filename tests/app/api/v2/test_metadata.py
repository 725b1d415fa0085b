"""Tests of the health and metadata endpoints of the Open Inference Protocol."""

import json
from pathlib import Path

import pytest

from app import __version__
from app.serving.model_runner import ModelRunner
from app.settings import Settings
from benchmarks.model_variants import publish_variant
from tests.app.api.app_client import AppClient, running_app
from tests.app.api.v2.infer_requests import INFER_PATH, error_message, json_request, read_outputs
from tests.app.artifact.artifact_files import current_path
from tests.conftest import version_of


def test_server_metadata_and_health(client: AppClient) -> None:
    body = client.get("/v2").json()
    assert (body["name"], body["version"]) == ("pricecast", __version__)
    assert {"binary_tensor_data", "model_repository"} <= set(body["extensions"])
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2/health/ready").json() == {"ready": True}
    assert client.get("/v2/models").json() == {"models": ["default", "tutorial"]}


@pytest.mark.parametrize("name", ["default", "tutorial"])
def test_model_metadata_matches_the_manifest(client: AppClient, name: str) -> None:
    body = client.get(f"/v2/models/{name}").json()
    manifest = client.get(f"/models/{name}").json()
    horizon, quantiles = manifest["horizon"], manifest["quantiles"]
    assert body == {
        "name": name,
        "versions": [version_of(name)],
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": "prices", "datatype": "FP64", "shape": [-1, 60]}],
        "outputs": [
            {"name": "forecast", "datatype": "FP64", "shape": [-1, horizon]},
            {"name": "quantiles", "datatype": "FP64", "shape": [-1, horizon, len(quantiles)]},
        ],
        "parameters": {"horizon": horizon, "quantiles": body["parameters"]["quantiles"]},
    }
    assert json.loads(body["parameters"]["quantiles"]) == quantiles
    assert client.get(f"/v2/models/{name}/versions/{version_of(name)}").json() == body
    for path in (f"/v2/models/{name}/ready", f"/v2/models/{name}/versions/{version_of(name)}/ready"):
        assert client.get(path).json() == {"name": name, "ready": True}


@pytest.mark.parametrize(
    "model", ["nope", "default/versions/99", "default/versions/x", "%2E%2E", "%00", "x" * 300, "nope/versions/1"]
)
def test_unknown_model_returns_404(client: AppClient, model: str) -> None:
    for path in (f"/v2/models/{model}", f"/v2/models/{model}/ready"):
        assert error_message(client.get(path), 404)
    assert error_message(client.post(f"/v2/models/{model}/infer", json=json_request()), 404)


def test_unknown_path_or_method_returns_v2_error(client: AppClient) -> None:
    assert error_message(client.get("/v2/nope"), 404)
    assert error_message(client.get(INFER_PATH), 405)


def test_missing_default_model_makes_the_server_unready(models: Path) -> None:
    (current_path(models, "default") / "model.onnx").write_bytes(b"nothing")
    with running_app(Settings(models_dir=models)) as client:
        assert "model.onnx" in error_message(client.get("/v2/health/ready"), 503)
        assert client.get("/v2/health/live").json() == {"live": True}
        assert client.get("/v2/models").json() == {"models": ["tutorial"]}
        assert "model.onnx" in error_message(client.get("/v2/models/default"), 503)
        assert "model.onnx" in error_message(client.post(INFER_PATH, json=json_request()), 503)
        for path in ("/v2/models/default/ready", f"/v2/models/default/versions/{version_of('default')}/ready"):
            response = client.get(path)
            assert (response.status_code, response.json()) == (503, {"name": "default", "ready": False})


def test_published_but_unserved_version_is_not_ready(models: Path) -> None:
    live = version_of("default")
    unserved = publish_variant(models, "default", 2.0, is_current=False)
    newest = publish_variant(models, "default", 3.0, is_current=False)
    with running_app(Settings(models_dir=models, versions_served=2)) as client:
        assert client.get("/v2/models/default").json()["versions"] == [live, newest]
        by_default = client.post(INFER_PATH, json=json_request())
        by_number = client.post(f"/v2/models/default/versions/{newest}/infer", json=json_request())
        assert (by_default.json()["model_version"], by_number.json()["model_version"]) == (live, newest)
        assert (read_outputs(by_number)["quantiles"][:, :, -1] > read_outputs(by_default)["quantiles"][:, :, -1]).all()
        response = client.get(f"/v2/models/default/versions/{unserved}/ready")
        assert (response.status_code, response.json()) == (503, {"name": "default", "ready": False})
        assert error_message(client.post(f"/v2/models/default/versions/{unserved}/infer", json=json_request()), 404)


def test_stopped_batcher_makes_the_model_unready(client: AppClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ModelRunner, "is_healthy", property(lambda runner: False))
    response = client.get("/v2/models/default/ready")
    assert (response.status_code, response.json()) == (503, {"name": "default", "ready": False})
    assert "has failed and must be reloaded" in error_message(client.get("/v2/health/ready"), 503)
