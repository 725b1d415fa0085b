"""GET /models and its children."""

from pathlib import Path

from app.settings import Settings
from tests.app.api.conftest import Client, start
from tests.app.artifact.test_store import place
from tests.conftest import version_of


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
    (place(models, "tutorial") / "model.onnx").write_bytes(b"nothing")
    for client in start(Settings(models_dir=models)):
        body = client.get("/models").json()
        assert [each["name"] for each in body["models"]] == ["default"]
        assert body["failures"]["tutorial"].startswith(f"tutorial/{version_of('tutorial')}/model.onnx: ")
        assert client.get("/models/tutorial").status_code == 503
        assert client.get("/health/ready").status_code == 200


def test_without_its_default_model_the_server_is_not_ready_and_says_why(models: Path) -> None:
    (place(models, "default") / "scaler.joblib").unlink()
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
