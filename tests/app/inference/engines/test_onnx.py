"""The CPU engine: any batch, from any thread, the same answers."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.artifact import store
from app.artifact.store import Artifact
from app.inference.engines.base import F32
from app.inference.engines.onnx import OnnxEngine, _cores
from tests.strategies import seeds

MOST = 257  # rows; no power of two, and more than any power of two that a kernel might be cut for


@pytest.fixture(scope="module", params=["default", "tutorial"])
def artifact(shipped: Path, request: pytest.FixtureRequest) -> Artifact:
    name = str(request.param)
    return store.read_version(shipped, name, store.current(shipped, name))


@pytest.fixture(scope="module")
def engine(artifact: Artifact) -> OnnxEngine:
    return OnnxEngine(artifact.onnx)


@pytest.fixture(scope="module")
def inputs(engine: OnnxEngine) -> F32:
    """(N, T, F) rows of all sorts: calm, wild, constant."""
    spread = np.logspace(-3, 0.5, MOST)[:, None, None]
    rows = np.random.default_rng(1).normal(0, spread, (MOST, *engine.steps_and_features)).astype(np.float32)
    rows[:5] = 0
    return rows


@pytest.fixture(scope="module")
def one_by_one(engine: OnnxEngine, inputs: F32) -> F32:
    """(N, outputs), each row in a call of its own."""
    return np.concatenate([engine.run(inputs[row : row + 1]) for row in range(MOST)])


def test_an_engine_says_what_it_takes(artifact: Artifact, engine: OnnxEngine) -> None:
    assert engine.name == "onnx"
    assert engine.steps_and_features == artifact.transform.shape(artifact.manifest.window)


def test_each_row_gets_one_flat_row_of_outputs(artifact: Artifact, engine: OnnxEngine, inputs: F32) -> None:
    manifest = artifact.manifest
    for rows in (1, 2, 64):
        outputs = engine.run(inputs[:rows])
        assert outputs.shape == (rows, manifest.horizon * len(manifest.quantiles))
        assert outputs.dtype == np.float32
        assert np.isfinite(outputs).all()


@settings(max_examples=15, deadline=None)
@given(rows=st.one_of(st.sampled_from([1, 2, 63, 64, 65, 256, MOST]), st.integers(1, MOST)), seed=seeds)
def test_a_row_gets_the_same_answer_in_any_batch(
    engine: OnnxEngine, inputs: F32, one_by_one: F32, rows: int, seed: int
) -> None:
    chosen = np.random.default_rng(seed).permutation(MOST)[:rows]
    np.testing.assert_allclose(engine.run(inputs[chosen]), one_by_one[chosen], rtol=1e-5, atol=1e-5)


def test_calls_side_by_side_agree_with_calls_one_after_the_other(
    engine: OnnxEngine, inputs: F32, one_by_one: F32
) -> None:
    pieces = [slice(start, start + 1 + start % 17) for start in range(0, MOST - 20, 3)]
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda piece: engine.run(inputs[piece]), pieces))
    for piece, answer in zip(pieces, answers, strict=True):
        np.testing.assert_allclose(answer, one_by_one[piece], rtol=1e-5, atol=1e-5)


def test_the_inputs_are_left_as_they_were(engine: OnnxEngine, inputs: F32) -> None:
    before = inputs[:8].copy()
    engine.run(inputs[:8])
    np.testing.assert_array_equal(inputs[:8], before)


def test_an_engine_has_a_lane_for_each_core(artifact: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    assert OnnxEngine(artifact.onnx).concurrent_calls >= 1
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 5, 7}, raising=False)
    assert OnnxEngine(artifact.onnx).concurrent_calls == 3


@pytest.mark.parametrize(("count", "concurrent_calls"), [(6, 6), (None, 1)])
def test_where_cores_cannot_be_reserved_all_of_them_count(
    artifact: Artifact, monkeypatch: pytest.MonkeyPatch, count: int | None, concurrent_calls: int
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: count)
    assert OnnxEngine(artifact.onnx).concurrent_calls == concurrent_calls


@pytest.mark.parametrize(
    ("written", "concurrent_calls"),
    [
        ("max 100000\n", 8), ("250000 100000\n", 3), ("200000 100000\n", 2), ("50000 100000\n", 1),
        ("1600000 100000\n", 8), ("", 8), ("rubbish", 8), (None, 8),
    ],
)  # fmt: skip
def test_in_a_container_only_the_cores_that_it_was_given_count(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, written: str | None, concurrent_calls: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    quota = tmp_path / "cpu.max"
    if written is not None:
        quota.write_text(written)
    assert _cores(quota) == concurrent_calls


@pytest.mark.parametrize("change", ["nothing", "garbage", "half", "text"])
def test_broken_bytes_are_no_engine(artifact: Artifact, change: str) -> None:
    content = {
        "nothing": b"",
        "garbage": b"\xff" * 100,
        "half": artifact.onnx[: len(artifact.onnx) // 2],
        "text": b"not a network",
    }[change]
    with pytest.raises(Exception, match=r"(?i)model|protobuf|graph"):
        OnnxEngine(content)
