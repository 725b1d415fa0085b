"""Engine selection: Keras if it certainly computes on a GPU, otherwise ONNX Runtime."""

import subprocess
import sys
from pathlib import Path

import pytest

from app.inference.engines import select
from app.inference.engines.select import EngineSelection, select_engine
from tests.conftest import ROOT


def keras_on_jax_is_installed(name: str) -> bool:
    return name in ("keras", "jax")


def installed_not_expected(name: str) -> bool:
    raise AssertionError(f"select_engine must not look for {name}")


def device_not_expected() -> str:
    raise AssertionError("select_engine must not import Keras")


@pytest.fixture
def gpu(tmp_path: Path) -> Path:
    """Return a directory with the device node of one GPU."""
    (tmp_path / "nvidia0").touch()
    return tmp_path


def test_select_engine_without_gpu_is_onnx(tmp_path: Path) -> None:
    (tmp_path / "nvidiactl").touch()  # a driver without a GPU leaves this node
    chosen = select_engine(tmp_path, {}, installed_not_expected, device_not_expected)
    assert chosen == EngineSelection("onnx", f"no NVIDIA GPU in {tmp_path}")


@pytest.mark.parametrize(
    ("environment", "missing"),
    [({}, "tensorflow"), ({"KERAS_BACKEND": "torch"}, "torch"), ({"KERAS_BACKEND": "tensorflow"}, "tensorflow")],
)
def test_select_engine_without_backend_is_onnx(gpu: Path, environment: dict[str, str], missing: str) -> None:
    assert select_engine(gpu, environment, keras_on_jax_is_installed, device_not_expected) == EngineSelection(
        "onnx", f"there is a GPU, but these packages are missing: {missing}"
    )


def test_select_engine_without_keras_is_onnx(gpu: Path) -> None:
    chosen = select_engine(gpu, {}, lambda name: False, device_not_expected)
    assert chosen == EngineSelection("onnx", "there is a GPU, but these packages are missing: keras, tensorflow")


@pytest.mark.parametrize("node", ["nvidia0", "nvidia7", "nvidia12", "dxg"])
@pytest.mark.parametrize("device", ["cuda:0", "/job:localhost/replica:0/task:0/device:GPU:0", "gpu:1"])
def test_select_engine_keras_on_gpu_is_keras(tmp_path: Path, node: str, device: str) -> None:
    (tmp_path / node).touch()
    chosen = select_engine(tmp_path, {"KERAS_BACKEND": "jax"}, keras_on_jax_is_installed, lambda: device)
    assert chosen == EngineSelection("keras", f"Keras on jax computes on {device}")


@pytest.mark.parametrize("device", ["cpu:0", "cpu", "/job:localhost/replica:0/task:0/device:CPU:0", "mps:0"])
def test_select_engine_keras_on_other_device_is_onnx(gpu: Path, device: str) -> None:
    chosen = select_engine(gpu, {"KERAS_BACKEND": "jax"}, keras_on_jax_is_installed, lambda: device)
    assert chosen == EngineSelection("onnx", f"Keras on jax computes on {device}")


def test_select_engine_failing_gpu_is_onnx(gpu: Path) -> None:
    def fail() -> str:
        raise RuntimeError("driver too old")

    chosen = select_engine(gpu, {"KERAS_BACKEND": "jax"}, keras_on_jax_is_installed, fail)
    assert chosen == EngineSelection("onnx", "there may be a GPU, but Keras on jax cannot use it: driver too old")


@pytest.mark.parametrize("backend", ["", "no.such.package"])
def test_select_engine_invalid_backend_is_onnx(gpu: Path, backend: str) -> None:
    chosen = select_engine(gpu, {"KERAS_BACKEND": backend}, find_device=device_not_expected)
    assert chosen.engine == "onnx"
    assert chosen.reason.startswith(f"there may be a GPU, but Keras on {backend} cannot use it: ")


def test_select_engine_asks_keras_by_default(gpu: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(select, "_keras_device", lambda: "cuda:0")
    assert select_engine(gpu, {"KERAS_BACKEND": "jax"}, keras_on_jax_is_installed).engine == "keras"


def test_select_engine_without_gpu_imports_no_keras(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from app.inference.engines.select import select_engine;"
        f"assert select_engine(Path({str(tmp_path)!r})).engine == 'onnx';"
        "assert not {'keras', 'tensorflow', 'jax', 'torch', 'app.inference.engines.keras'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
