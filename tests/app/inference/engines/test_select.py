"""Which engine suits a machine: Keras where it is sure to compute on a GPU, and ONNX Runtime elsewhere."""

import subprocess
import sys
from pathlib import Path

import pytest

from app.inference.engines import select
from app.inference.engines.select import EngineSelection, select_engine
from tests.server_process import ROOT


def installed(name: str) -> bool:
    """As on a machine with Keras on JAX."""
    return name in ("keras", "jax")


def never_asked(name: str) -> bool:
    raise AssertionError(f"nobody needs to know whether {name} is installed")


def never() -> str:
    raise AssertionError("Keras must not be imported for this")


@pytest.fixture
def gpu(tmp_path: Path) -> Path:
    """Device nodes of a machine with a GPU."""
    (tmp_path / "nvidia0").touch()
    return tmp_path


def test_without_device_nodes_it_is_onnx(tmp_path: Path) -> None:
    (tmp_path / "nvidiactl").touch()  # left by a driver that has no GPU
    assert select_engine(tmp_path, {}, never_asked, never) == EngineSelection("onnx", f"no NVIDIA GPU in {tmp_path}")


@pytest.mark.parametrize(
    ("environment", "missing"),
    [({}, "tensorflow"), ({"KERAS_BACKEND": "torch"}, "torch"), ({"KERAS_BACKEND": "tensorflow"}, "tensorflow")],
)
def test_without_the_backend_it_is_onnx(gpu: Path, environment: dict[str, str], missing: str) -> None:
    assert select_engine(gpu, environment, installed, never) == EngineSelection(
        "onnx", f"there is a GPU, but not installed: {missing}"
    )


def test_without_keras_it_is_onnx(gpu: Path) -> None:
    chosen = select_engine(gpu, {}, lambda name: False, never)
    assert chosen == EngineSelection("onnx", "there is a GPU, but not installed: keras, tensorflow")


@pytest.mark.parametrize("node", ["nvidia0", "nvidia7", "nvidia12", "dxg"])
@pytest.mark.parametrize("found", ["cuda:0", "/job:localhost/replica:0/task:0/device:GPU:0", "gpu:1"])
def test_where_keras_computes_on_a_gpu_it_is_keras(tmp_path: Path, node: str, found: str) -> None:
    (tmp_path / node).touch()
    chosen = select_engine(tmp_path, {"KERAS_BACKEND": "jax"}, installed, lambda: found)
    assert chosen == EngineSelection("keras", f"Keras on jax computes on {found}")


@pytest.mark.parametrize("found", ["cpu:0", "cpu", "/job:localhost/replica:0/task:0/device:CPU:0", "mps:0"])
def test_where_keras_does_not_see_the_gpu_it_is_onnx(gpu: Path, found: str) -> None:
    chosen = select_engine(gpu, {"KERAS_BACKEND": "jax"}, installed, lambda: found)
    assert chosen == EngineSelection("onnx", f"Keras on jax computes on {found}")


def test_where_the_gpu_fails_it_is_onnx(gpu: Path) -> None:
    def fails() -> str:
        raise RuntimeError("driver too old")

    chosen = select_engine(gpu, {"KERAS_BACKEND": "jax"}, installed, fails)
    assert chosen == EngineSelection("onnx", "there may be a GPU, but Keras on jax cannot use it: driver too old")


@pytest.mark.parametrize("backend", ["", "no.such.package"])
def test_a_backend_that_is_no_package_is_a_doubt(gpu: Path, backend: str) -> None:
    chosen = select_engine(gpu, {"KERAS_BACKEND": backend}, device=never)
    assert chosen.engine == "onnx"
    assert chosen.reason.startswith(f"there may be a GPU, but Keras on {backend} cannot use it: ")


def test_unless_told_otherwise_keras_is_asked(gpu: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(select, "_device", lambda: "cuda:0")
    assert select_engine(gpu, {"KERAS_BACKEND": "jax"}, installed).engine == "keras"


def test_without_a_gpu_neither_keras_nor_a_backend_is_imported(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from app.inference.engines.select import select_engine;"
        f"assert select_engine(Path({str(tmp_path)!r})).engine == 'onnx';"
        "assert not {'keras', 'tensorflow', 'jax', 'torch', 'app.inference.engines.keras'} & set(sys.modules)"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
