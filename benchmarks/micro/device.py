"""The device that Keras uses, with its measured speed of matrix products and memory transfers."""

import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from app.inference.engines.select import is_gpu

CALLS = 5
# TFLOP/s in float32 without tensor cores, from NVIDIA's data sheets. The first key found in a name applies.
PEAK_TFLOPS = {
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
    """A device and its measured speeds.

    Attributes:
        name: Name of the GPU, or the device name that Keras reports.
        is_gpu: Whether it is a GPU.
        flops_per_s: Speed of a large float32 matrix product.
        link_bytes_per_s: Speed of copies from NumPy to the device and back.
        memory_bytes_per_s: Speed of reads and writes on the device.
    """

    name: str
    is_gpu: bool
    flops_per_s: float
    link_bytes_per_s: float
    memory_bytes_per_s: float

    @property
    def peak_tflops(self) -> float | None:
        """Peak speed in the data sheet, or None if it is not known."""
        return next((peak for name, peak in PEAK_TFLOPS.items() if name in self.name), None)

    @classmethod
    def measure(cls) -> "Device":
        """Measure the device that Keras uses."""
        import keras  # takes seconds, so only when needed

        from app.inference.engines.keras import compute_device

        keras_name = compute_device()
        has_gpu = is_gpu(keras_name)
        side = 8192 if has_gpu else 1024
        square = keras.random.normal((side, side))
        host_array = np.ones((2**12, 2**12), dtype=np.float32)

        def wait_for(tensor: Any) -> None:
            """Wait until a tensor has been computed: devices compute asynchronously."""
            keras.ops.convert_to_numpy(tensor[:1, :1])

        product_s = _fastest_call_s(lambda: wait_for(keras.ops.matmul(square, square)))
        link_s = _fastest_call_s(lambda: keras.ops.convert_to_numpy(keras.ops.convert_to_tensor(host_array) + 1))
        memory_s = _fastest_call_s(lambda: wait_for(square + 1))
        return cls(
            name=(_nvidia_name() if has_gpu else None) or keras_name,
            is_gpu=has_gpu,
            flops_per_s=2 * side**3 / product_s,
            link_bytes_per_s=2 * host_array.nbytes / link_s,
            memory_bytes_per_s=2 * 4 * side**2 / memory_s,
        )


def _nvidia_name() -> str | None:
    if not (command := shutil.which("nvidia-smi")):
        return None
    arguments = [command, "--query-gpu=name", "--format=csv,noheader"]
    return subprocess.run(arguments, capture_output=True, text=True, check=True).stdout.splitlines()[0]


def _fastest_call_s(call: Callable[[], object]) -> float:
    """Return the duration of the fastest call in seconds, after a warm-up call."""
    times_s = []
    for _ in range(1 + CALLS):
        started = time.perf_counter()
        call()
        times_s.append(time.perf_counter() - started)
    return min(times_s[1:])
