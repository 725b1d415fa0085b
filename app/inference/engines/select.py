"""Engine selection for `PRICECAST_ENGINE=auto`."""

import importlib.util
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class EngineSelection:
    """The selected engine, and the reason as a line for the log."""

    engine: Literal["onnx", "keras"]
    reason: str


def select_engine(
    device_nodes: Path = Path("/dev"),
    environment: Mapping[str, str] = os.environ,
    is_installed: Callable[[str], bool] = lambda name: importlib.util.find_spec(name) is not None,
    find_device: Callable[[], str] | None = None,
) -> EngineSelection:
    """Select Keras if it computes on an NVIDIA GPU; otherwise, and in any doubt, ONNX Runtime.

    Never raises. Importing Keras and its backend takes seconds and hundreds of megabytes, so the cheap checks come
    first: they are imported only if there is an NVIDIA GPU and both are installed.

    Args:
        device_nodes: Directory of the device nodes.
        environment: Environment variables; KERAS_BACKEND names the backend, as it does for Keras.
        is_installed: Returns whether a package is installed, without importing it.
        find_device: Returns the device that Keras computes on. Defaults to `keras.compute_device` of this package,
            which imports Keras.
    """
    backend = environment.get("KERAS_BACKEND", "tensorflow")
    try:
        # A container may get any of the machine's GPUs, not only the first. Under WSL, dxg stands for all GPUs.
        if not (any(device_nodes.glob("nvidia[0-9]*")) or (device_nodes / "dxg").exists()):
            return EngineSelection("onnx", f"no NVIDIA GPU in {device_nodes}")
        if missing := [name for name in ("keras", backend) if not is_installed(name)]:
            return EngineSelection("onnx", f"there is a GPU, but these packages are missing: {', '.join(missing)}")
        device = (find_device or _keras_device)()
    except Exception as error:  # A driver that does not match its library can fail in many ways.
        return EngineSelection("onnx", f"there may be a GPU, but Keras on {backend} cannot use it: {error}")
    return EngineSelection("keras" if is_gpu(device) else "onnx", f"Keras on {backend} computes on {device}")


def is_gpu(device: str) -> bool:
    """Return whether a backend's device name denotes an NVIDIA GPU."""
    return any(word in device.lower() for word in ("cuda", "gpu"))


def _keras_device() -> str:
    from app.inference.engines.keras import compute_device  # imports Keras

    return compute_device()
