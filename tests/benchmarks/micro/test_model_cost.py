from pathlib import Path

from app.artifact import store
from app.artifact.affine import Affine
from app.artifact.manifest import LogReturnParameters
from app.artifact.store import Artifact
from app.artifact.transform import build_transform
from benchmarks.micro.model_cost import ModelCost
from tests.conftest import version_of


def test_cost_of_shipped_model(shipped: Path) -> None:
    cost = ModelCost.from_artifact(store.read_version(shipped, "tutorial", version_of("tutorial")))
    first, others = 4 * 50 * (1 + 50), 4 * 50 * (50 + 50)  # weights of a layer: four gates, input and recurrent
    assert cost.flops_per_window == 2 * (60 * (first + 3 * others) + 50)
    assert cost.bytes_per_window == 4 * (60 + 1)
    assert cost.bytes_per_call == 4 * 71051


def test_cost_includes_features_and_head(shipped: Path) -> None:
    artifact = store.read_version(shipped, "default", version_of("default"))
    network = artifact.manifest.network.model_copy(update={"units": [48], "head": 64, "parameters": 1000})
    manifest = artifact.manifest.model_copy(update={"network": network, "levels": [50, 80, 90, 95], "horizon": 20})
    transform = build_transform(LogReturnParameters(level=True), Affine(1.0, 0.0))
    cost = ModelCost.from_artifact(Artifact(artifact.path, manifest, transform, artifact.onnx))
    assert cost.flops_per_window == 2 * (59 * 4 * 48 * (2 + 48) + 48 * 64 + 64 * 180)
    assert cost.bytes_per_window == 4 * (2 * 59 + 180)
    assert cost.bytes_per_call == 4 * 1000
