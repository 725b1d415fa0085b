"""The figures beside the GPU's: what a window asks of a device, and what is sent."""

import json
from pathlib import Path

import pytest

from app.artifact import store
from benchmarks.device import Device
from benchmarks.gpu import Work, requests, timed


def test_a_window_of_a_shipped_model_asks_for_this_much(shipped: Path) -> None:
    tutorial = Work.of(store.read_version(shipped, "tutorial", "1"))
    first, others = 4 * 50 * (1 + 50), 4 * 50 * (50 + 50)  # weights of a layer: four gates, from below and from itself
    assert tutorial.flops == 2 * (60 * (first + 3 * others) + 50)
    assert tutorial.bytes == 4 * (60 + 1)
    assert tutorial.bytes_per_call == 4 * 71051

    default = Work.of(store.read_version(shipped, "default", "1"))
    assert default.flops == 2 * (59 * (4 * 48 * (1 + 48) + 4 * 48 * (48 + 48)) + 48 * 45)
    assert default.bytes == 4 * (59 + 45)


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
