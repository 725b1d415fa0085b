"""Tests of a server that watches its models directory for new versions."""

import asyncio
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.artifact import store
from app.settings import Settings
from benchmarks.model_variants import publish_variant
from tests.app.api.app_client import AppClient, running_app
from tests.app.artifact.artifact_files import publish_broken_copy
from tests.conftest import version_of
from tests.prices import PRICES


@pytest.fixture
def polling_client(models: Path) -> Iterator[AppClient]:
    """A server that scans its models directory every 10 ms."""
    with running_app(Settings(models_dir=models, models_poll_s=0.01)) as client:
        yield client


def wait_until(client: AppClient, description: str, condition: Callable[[], object]) -> None:
    """Run the server until the condition holds. Fail if it never does."""
    for _ in range(3000):
        if condition():
            return
        client.run(lambda _: asyncio.sleep(0.01))
    pytest.fail(f"never happened: {description}")


def live_version(client: AppClient) -> str:
    return client.app.lifecycle.registry.get().manifest.version


def test_published_version_is_served_automatically(polling_client: AppClient, models: Path) -> None:
    wide = publish_variant(models, "default", 3.0)
    wait_until(polling_client, "switch to the published version", lambda: live_version(polling_client) == wide)
    store.write_current(models, "default", version_of("default"))
    wait_until(polling_client, "switch back", lambda: live_version(polling_client) == version_of("default"))
    shutil.copytree(models / "tutorial", models / "another")
    wait_until(polling_client, "load failure", lambda: "another" in polling_client.app.lifecycle.registry.failures)
    assert "name or version does not match the directory" in polling_client.get("/models").json()["failures"]["another"]


def test_broken_published_version_keeps_the_old_one_live(
    polling_client: AppClient, models: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broken = publish_broken_copy(models, version_of("default"))
    store.write_current(models, "default", broken)
    wait_until(polling_client, "load failure", lambda: "default" in polling_client.app.lifecycle.registry.failures)
    body = polling_client.get("/models").json()
    assert body["models"][0]["version"] == version_of("default")
    assert body["failures"]["default"].startswith(f"default/{broken}/model.onnx: ")
    assert f"{broken}/model.onnx: size or SHA-256 does not match" in caplog.text
    assert polling_client.get("/health/ready").status_code == 200
    assert polling_client.post("/predict", json={"prices": PRICES}).status_code == 200
    logged = len(caplog.records)
    polling_client.run(lambda _: asyncio.sleep(0.05))
    assert len(caplog.records) == logged, "a failed version is not retried before it changes"


def test_failed_directory_scan_is_logged_and_retried(
    polling_client: AppClient, models: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(models_dir: Path) -> list[str]:
        raise RuntimeError("secret-4711")

    with monkeypatch.context() as patched:
        patched.setattr(store, "model_names", fail)
        wait_until(polling_client, "logged failure", lambda: "cannot check the models directory" in caplog.text)
        assert polling_client.post("/predict", json={"prices": PRICES}).status_code == 200
    wide = publish_variant(models, "default", 3.0)
    wait_until(polling_client, "switch to the published version", lambda: live_version(polling_client) == wide)
