"""The figures beside the GPU's: what a window asks of a device, and what is sent."""

import json
from pathlib import Path

import pytest

from app.artifact import store
from app.artifact.manifest import LogReturnParameters
from app.artifact.store import Artifact
from app.artifact.affine import Affine
from app.artifact.transform import build_transform
from benchmarks.device import Device
from benchmarks.gpu import Work, requests, timed
from tests.conftest import version_of


def test_a_window_of_a_shipped_model_asks_for_this_much(shipped: Path) -> None:
    tutorial = Work.of(store.read_version(shipped, "tutorial", version_of("tutorial")))
    first, others = 4 * 50 * (1 + 50), 4 * 50 * (50 + 50)  # weights of a layer: four gates, from below and from itself
    assert tutorial.flops == 2 * (60 * (first + 3 * others) + 50)
    assert tutorial.bytes == 4 * (60 + 1)
    assert tutorial.bytes_per_call == 4 * 71051


def test_features_and_a_head_count_as_well(shipped: Path) -> None:
    artifact = store.read_version(shipped, "default", version_of("default"))
    network = artifact.manifest.network.model_copy(update={"units": [48], "head": 64, "parameters": 1000})
    manifest = artifact.manifest.model_copy(update={"network": network, "levels": [50, 80, 90, 95], "horizon": 20})
    transform = build_transform(LogReturnParameters(level=True), Affine(1.0, 0.0))
    work = Work.of(Artifact(artifact.path, manifest, transform, artifact.onnx))
    assert work.flops == 2 * (59 * 4 * 48 * (2 + 48) + 48 * 64 + 64 * 180)
    assert work.bytes == 4 * (2 * 59 + 180)
    assert work.bytes_per_call == 4 * 1000


@pytest.mark.parametrize(
    ("name", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", 67.0),
        ("NVIDIA H100 PCIe", 51.0),
        ("NVIDIA L40S", 91.6),
        ("NVIDIA L4", 30.3),
        ("cpu", None),
    ],
)
def test_the_data_sheet_is_found_by_the_device_s_name(name: str, peak: float | None) -> None:
    assert Device(name, gpu=True, flops_per_s=1, link_bytes_per_s=1, memory_bytes_per_s=1).peak_tflops == peak


@pytest.mark.parametrize("series", [1, 3])
def test_no_two_series_sent_are_alike(series: int) -> None:
    bodies = [json.loads(body) for body in requests(series, 4, 60)]
    rows = [row for body in bodies for row in ([body] if series == 1 else body["series"])]
    assert len({tuple(row["prices"]) for row in rows}) == 4 * series
    assert all(len(row["prices"]) == 60 for row in rows)


def test_the_first_call_does_not_count() -> None:
    called: list[None] = []
    assert len(timed(lambda: called.append(None), seconds=0)) == len(called) - 1 == 3
