import pytest

from benchmarks.micro.device import Device


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
def test_peak_is_found_by_device_name(name: str, peak: float | None) -> None:
    assert Device(name, is_gpu=True, flops_per_s=1, link_bytes_per_s=1, memory_bytes_per_s=1).peak_tflops == peak
