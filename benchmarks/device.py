"""What Keras computes on here: its name, and what it reaches in a product and in copies."""

import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from app.inference.engines.select import is_gpu

CALLS = 5
# Of NVIDIA's data sheets: TFLOP/s in float32 without tensor cores. The first that is found in a device's name counts.
PEAKS = {
    "H200": 67.0,
    "H100 PCIe": 51.0,
    "H100": 67.0,
    "A100": 19.5,
    "L40S": 91.6,
    "L4": 30.3,
    "A10": 31.2,
    "V100": 15.7,
    "T4": 8.1,
}


@dataclass(frozen=True)
class Device:
    """A device, and the best of what was measured on it."""

    name: str
    gpu: bool
    flops_per_s: float  # of a large float32 product
    link_bytes_per_s: float  # from NumPy to the device and back
    memory_bytes_per_s: float  # read and written on the device

    @property
    def peak_tflops(self) -> float | None:
        """What the data sheet says, for some GPUs."""
        return next((peak for name, peak in PEAKS.items() if name in self.name), None)

    @classmethod
    def measured(cls) -> "Device":
        import keras  # only here: it takes seconds

        from app.inference.engines.keras import compute_device

        found = compute_device()
        gpu = is_gpu(found)
        side = 8192 if gpu else 1024
        square = keras.random.normal((side, side))
        many = np.ones((2**12, 2**12), dtype=np.float32)

        def wait(tensor: Any) -> None:
            """Until it is computed: a device answers before it has."""
            keras.ops.convert_to_numpy(tensor[:1, :1])

        product_s = _least_s(lambda: wait(keras.ops.matmul(square, square)))
        link_s = _least_s(lambda: keras.ops.convert_to_numpy(keras.ops.convert_to_tensor(many) + 1))
        memory_s = _least_s(lambda: wait(square + 1))
        return cls(
            name=(_gpu_name() if gpu else None) or found,
            gpu=gpu,
            flops_per_s=2 * side**3 / product_s,
            link_bytes_per_s=2 * many.nbytes / link_s,
            memory_bytes_per_s=2 * 4 * side**2 / memory_s,
        )


def _gpu_name() -> str | None:
    if not (command := shutil.which("nvidia-smi")):
        return None
    asked = [command, "--query-gpu=name", "--format=csv,noheader"]
    return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.splitlines()[0]


def _least_s(call: Callable[[], object]) -> float:
    """Seconds of the fastest call, after one that does not count."""
    seconds = []
    for _ in range(1 + CALLS):
        began = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - began)
    return min(seconds[1:])
