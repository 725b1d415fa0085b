"""Tests of the liveness and readiness probes."""

from pathlib import Path

from app.settings import Settings
from tests.app.api.app_client import running_app
from tests.app.artifact.artifact_files import current_path
from tests.conftest import version_of


def test_ready_without_default_model_returns_503_with_reason(models: Path) -> None:
    (current_path(models, "default") / "scaler.joblib").unlink()
    with running_app(Settings(models_dir=models)) as client:
        response = client.get("/health/ready")
        assert response.status_code == 503
        assert f"default/{version_of('default')}/scaler.joblib" in response.json()["detail"]
        assert client.get("/health/live").status_code == 200
        assert client.get("/models/tutorial").status_code == 200


def test_ready_without_any_model_returns_503(tmp_path: Path) -> None:
    with running_app(Settings(models_dir=tmp_path / "none")) as client:
        assert client.get("/health/ready").status_code == 503
        assert client.get("/models").json()["models"] == []
        assert client.post("/predict", json={"prices": [1.0] * 60}).status_code == 503
