"""Loading a forecaster: a network that does not match its manifest or its golden forecasts is rejected."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from app.artifact import store
from app.artifact.arrays import F32
from app.artifact.store import Artifact
from app.errors import ArtifactError
from app.inference.forecaster import GOLDEN_TOLERANCE, Forecaster, load_forecaster, verify_golden
from tests.app.artifact.artifact_files import SHIPPED_MODELS, current_path, reseal_manifest


def load_error_reason(path: Path, **changes: object) -> str:
    """Reseal the artifact in `path` with `changes`, and return the reason why it cannot be loaded."""
    reseal_manifest(path, **changes)
    artifact = store.read_artifact(path)
    with pytest.raises(ArtifactError) as caught:
        load_forecaster(artifact, "onnx")
    assert caught.value.path == path / "model.onnx"
    assert str(path) not in caught.value.reason
    return caught.value.reason


def read_document(path: Path) -> Any:
    """Return the manifest in `path` as JSON."""
    return json.loads((path / store.MANIFEST).read_text(encoding="utf-8"))


def change_weights(path: Path, change: Callable[[F32], F32]) -> None:
    """Apply `change` to all floating-point weights of an ONNX file."""
    network = onnx.load(path)
    for tensor in network.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            weights = numpy_helper.to_array(tensor)
            tensor.CopyFrom(numpy_helper.from_array(change(weights).astype(np.float32), tensor.name))
    onnx.save(network, path)


@pytest.mark.parametrize("name", SHIPPED_MODELS)
def test_load_forecaster_shipped_model_reproduces_golden(
    artifacts: dict[str, Artifact], forecasters: dict[str, Forecaster], name: str
) -> None:
    assert forecasters[name].engine.name == "onnx"
    verify_golden(forecasters[name], artifacts[name].manifest.golden)


# The network


@pytest.mark.parametrize("name", SHIPPED_MODELS)
@pytest.mark.parametrize("content", [b"", b"garbage", b"\xff" * 100])
def test_load_forecaster_broken_network_is_rejected(models: Path, name: str, content: bytes) -> None:
    path = current_path(models, name)
    (path / "model.onnx").write_bytes(content)
    assert load_error_reason(path).startswith("the network cannot be loaded: ")


@pytest.mark.parametrize("name", SHIPPED_MODELS)
def test_load_forecaster_nan_weights_are_rejected(models: Path, name: str) -> None:
    path = current_path(models, name)
    change_weights(path / "model.onnx", lambda weights: np.full_like(weights, np.nan))
    reason = load_error_reason(path)
    assert reason == "the golden forecasts are not reproduced: the network returned NaN or infinity"


def test_load_forecaster_mismatched_weights_are_rejected(models: Path) -> None:
    path = current_path(models, "tutorial")
    change_weights(path / "model.onnx", lambda weights: weights * np.float32(1.01))
    assert load_error_reason(path).startswith("the golden forecasts are not reproduced: they differ by ")


def test_load_forecaster_rewritten_weights_are_accepted(models: Path) -> None:
    path = current_path(models, "default")
    change_weights(path / "model.onnx", lambda weights: weights)
    reseal_manifest(path)
    assert load_forecaster(store.read_artifact(path), "onnx").engine.name == "onnx"


# The network's shape


@pytest.mark.parametrize("name", SHIPPED_MODELS)
def test_load_forecaster_mismatched_window_is_rejected(models: Path, name: str) -> None:
    path = current_path(models, name)
    input_shape = store.read_artifact(path).transform.input_shape
    manifest = read_document(path)
    window, golden = manifest["window"], manifest["golden"]
    golden["windows"] = [[prices[0], *prices] for prices in golden["windows"]]
    reason = load_error_reason(path, window=window + 1, golden=golden)
    (steps, features), (wanted, _) = input_shape(window), input_shape(window + 1)
    assert reason == (
        f"the network takes {steps} steps of {features} features; "
        f"a window of {window + 1} prices is encoded as {wanted} steps of {features}"
    )


def test_load_forecaster_mismatched_features_are_rejected(models: Path) -> None:
    path = current_path(models, "default")
    transform = read_document(path)["transform"]
    features = 1 + transform["level"]
    reason = load_error_reason(path, transform=transform | {"level": not transform["level"]})
    assert reason == (
        f"the network takes 59 steps of {features} features; "
        f"a window of 60 prices is encoded as 59 steps of {3 - features}"
    )


def test_load_forecaster_mismatched_outputs_are_rejected(models: Path) -> None:
    path = current_path(models, "default")
    manifest = read_document(path)
    golden = manifest["golden"]
    calibration = manifest["calibration"]
    calibration["offsets"].append(calibration["offsets"][-1])
    golden["forecasts"] = [[*forecast, forecast[-1]] for forecast in golden["forecasts"]]
    reason = load_error_reason(path, horizon=manifest["horizon"] + 1, calibration=calibration, golden=golden)
    assert reason.startswith("the golden forecasts are not reproduced: ")


def test_load_forecaster_mismatched_training_ranges_are_rejected(models: Path) -> None:
    path = current_path(models, "default")
    reseal_manifest(path, training_ranges=read_document(path)["training_ranges"][:1])
    with pytest.raises(ArtifactError) as caught:
        load_forecaster(store.read_artifact(path), "onnx")
    assert caught.value.path == path / store.MANIFEST
    assert caught.value.reason == "training_ranges must list volatility, last step, not volatility"


# Golden forecasts


@pytest.mark.parametrize("name", SHIPPED_MODELS)
@pytest.mark.parametrize("factor", [1.001, 0.999])
def test_load_forecaster_altered_golden_forecast_is_rejected(models: Path, name: str, factor: float) -> None:
    path = current_path(models, name)
    golden = read_document(path)["golden"]
    golden["forecasts"][-1][-1][-1] *= factor
    assert "they differ by 0.001, more than the tolerance of 1e-05" in load_error_reason(path, golden=golden)


def test_load_forecaster_altered_golden_window_is_rejected(models: Path) -> None:
    path = current_path(models, "tutorial")
    golden = read_document(path)["golden"]
    golden["windows"][0][-1] *= 1.2
    assert "they differ by " in load_error_reason(path, golden=golden)


def test_load_forecaster_golden_rounding_is_accepted(models: Path) -> None:
    path = current_path(models, "default")
    golden = read_document(path)["golden"]
    golden["forecasts"][0][0][0] *= 1 + GOLDEN_TOLERANCE / 10
    reseal_manifest(path, golden=golden)
    assert load_forecaster(store.read_artifact(path), "onnx").engine.name == "onnx"
