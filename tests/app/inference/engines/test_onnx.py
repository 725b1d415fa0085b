"""The CPU engine computes the same outputs in any batch and from any thread."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.artifact import store
from app.artifact.arrays import F32
from app.artifact.store import Artifact
from app.inference.engines.onnx import OnnxEngine, _cores
from tests.conftest import version_of
from tests.strategies import seeds

MAX_ROWS = 257  # not a power of two, and above the block sizes that a kernel is likely to use


@pytest.fixture(scope="module", params=["default", "tutorial"])
def artifact(shipped: Path, request: pytest.FixtureRequest) -> Artifact:
    name = str(request.param)
    return store.read_version(shipped, name, version_of(name))


@pytest.fixture(scope="module")
def engine(artifact: Artifact) -> OnnxEngine:
    return OnnxEngine(artifact.onnx)


@pytest.fixture(scope="module")
def inputs(engine: OnnxEngine) -> F32:
    """Return (N, T, F) rows of low, high and zero volatility."""
    spread = np.logspace(-3, 0.5, MAX_ROWS)[:, None, None]
    rows = np.random.default_rng(1).normal(0, spread, (MAX_ROWS, *engine.steps_and_features)).astype(np.float32)
    rows[:5] = 0
    return rows


@pytest.fixture(scope="module")
def single_row_outputs(engine: OnnxEngine, inputs: F32) -> F32:
    """Return (N, outputs), each row computed in a separate call."""
    return np.concatenate([engine.run(inputs[row : row + 1]) for row in range(MAX_ROWS)])


def test_onnx_engine_reports_name_and_shape(artifact: Artifact, engine: OnnxEngine) -> None:
    assert engine.name == "onnx"
    assert engine.steps_and_features == artifact.transform.input_shape(artifact.manifest.window)


def test_run_returns_flat_finite_outputs(artifact: Artifact, engine: OnnxEngine, inputs: F32) -> None:
    manifest = artifact.manifest
    for rows in (1, 2, 64):
        outputs = engine.run(inputs[:rows])
        assert outputs.shape == (rows, manifest.horizon * len(manifest.quantiles))
        assert outputs.dtype == np.float32
        assert np.isfinite(outputs).all()


@settings(max_examples=15, deadline=None)
@given(rows=st.one_of(st.sampled_from([1, 2, 63, 64, 65, 256, MAX_ROWS]), st.integers(1, MAX_ROWS)), seed=seeds)
def test_run_outputs_do_not_depend_on_batch(
    engine: OnnxEngine, inputs: F32, single_row_outputs: F32, rows: int, seed: int
) -> None:
    chosen = np.random.default_rng(seed).permutation(MAX_ROWS)[:rows]
    np.testing.assert_allclose(engine.run(inputs[chosen]), single_row_outputs[chosen], rtol=1e-5, atol=1e-5)


def test_run_concurrent_calls_agree(engine: OnnxEngine, inputs: F32, single_row_outputs: F32) -> None:
    pieces = [slice(start, start + 1 + start % 17) for start in range(0, MAX_ROWS - 20, 3)]
    with ThreadPoolExecutor(4) as threads:
        outputs = list(threads.map(lambda piece: engine.run(inputs[piece]), pieces))
    for piece, computed in zip(pieces, outputs, strict=True):
        np.testing.assert_allclose(computed, single_row_outputs[piece], rtol=1e-5, atol=1e-5)


def test_run_does_not_change_inputs(engine: OnnxEngine, inputs: F32) -> None:
    before = inputs[:8].copy()
    engine.run(inputs[:8])
    np.testing.assert_array_equal(inputs[:8], before)


def test_concurrent_calls_equal_reserved_cores(artifact: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    assert OnnxEngine(artifact.onnx).concurrent_calls >= 1
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 5, 7}, raising=False)
    assert OnnxEngine(artifact.onnx).concurrent_calls == 3


@pytest.mark.parametrize(("cpu_count", "concurrent_calls"), [(6, 6), (None, 1)])
def test_concurrent_calls_without_affinity_equal_all_cores(
    artifact: Artifact, monkeypatch: pytest.MonkeyPatch, cpu_count: int | None, concurrent_calls: int
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: cpu_count)
    assert OnnxEngine(artifact.onnx).concurrent_calls == concurrent_calls


@pytest.mark.parametrize(
    ("content", "cores"),
    [
        ("max 100000\n", 8), ("250000 100000\n", 3), ("200000 100000\n", 2), ("50000 100000\n", 1),
        ("1600000 100000\n", 8), ("", 8), ("rubbish", 8), (None, 8),
    ],
)  # fmt: skip
def test_cores_are_limited_by_container_quota(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str | None, cores: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    cpu_max = tmp_path / "cpu.max"
    if content is not None:
        cpu_max.write_text(content)
    assert _cores(cpu_max) == cores


@pytest.mark.parametrize("change", ["nothing", "garbage", "half", "text"])
def test_onnx_engine_broken_model_is_rejected(artifact: Artifact, change: str) -> None:
    content = {
        "nothing": b"",
        "garbage": b"\xff" * 100,
        "half": artifact.onnx[: len(artifact.onnx) // 2],
        "text": b"not a network",
    }[change]
    with pytest.raises(Exception, match=r"(?i)model|protobuf|graph"):
        OnnxEngine(content)
