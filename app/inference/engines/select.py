"""Which engine suits this machine."""

import importlib.util
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class EngineSelection:
    """An engine, and why it was chosen: a line for the log."""

    engine: Literal["onnx", "keras"]
    reason: str


def select_engine(
    devices: Path = Path("/dev"),
    environment: Mapping[str, str] = os.environ,
    installed: Callable[[str], bool] = lambda name: importlib.util.find_spec(name) is not None,
    device: Callable[[], str] | None = None,
) -> EngineSelection:
    """Keras where it computes on a GPU; ONNX Runtime everywhere else, and in any doubt. Raises nothing.

    What costs nothing is looked at first: Keras and its backend take seconds and hundreds of megabytes, and are
    imported only where there is an NVIDIA GPU and both are installed.

    Args:
        devices: where device nodes are.
        environment: KERAS_BACKEND in it names the backend, as it does to Keras.
        installed: whether a package is, found out without importing it.
        device: what Keras computes on; `app.inference.engines.keras.device` unless given, which imports Keras.
    """
    backend = environment.get("KERAS_BACKEND", "tensorflow")
    try:
        # A container may be given any of a machine's GPUs, not the first alone; under WSL all of them are one dxg.
        if not (any(devices.glob("nvidia[0-9]*")) or (devices / "dxg").exists()):
            return EngineSelection("onnx", f"no NVIDIA GPU in {devices}")
        if missing := [name for name in ("keras", backend) if not installed(name)]:
            return EngineSelection("onnx", f"there is a GPU, but not installed: {', '.join(missing)}")
        found = (device or _device)()
    except Exception as error:  # a driver that does not fit its library fails in many ways
        return EngineSelection("onnx", f"there may be a GPU, but Keras on {backend} cannot use it: {error}")
    return EngineSelection("keras" if is_gpu(found) else "onnx", f"Keras on {backend} computes on {found}")


def is_gpu(device: str) -> bool:
    """Whether a backend that says this means a GPU of NVIDIA's."""
    return any(word in device.lower() for word in ("cuda", "gpu"))


def _device() -> str:
    from app.inference.engines.keras import device  # only here: it imports Keras

    return device()
