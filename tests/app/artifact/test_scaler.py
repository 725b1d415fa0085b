"""Loading the scaler: only a fitted scaler made of plain numbers is accepted, and no pickle runs code."""

import io
import pickle
from io import BytesIO
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler

from app.artifact import store
from app.artifact.scaler import NOT_PLAIN_NUMBERS, unpickle_scaler
from tests.app.artifact.artifact_files import SHIPPED_MODELS, current_path, read_invalid_artifact, reseal_manifest
from tests.app.artifact.pickles import PAYLOADS, PickledCall, joblib_bytes, scaler_with

# The loader alone


class DtypeWithFields:
    """Pickles as a float dtype whose state describes a structure."""

    def __reduce__(self) -> tuple[Any, ...]:
        return np.dtype, ("f8", False, True), (3, "<", None, ("a",), {"a": (np.dtype("f8"), 0)}, 8, 1, 0)


def test_unpickle_scaler_returns_equal_scaler() -> None:
    written = io.BytesIO()
    scaler = MinMaxScaler().fit([[1.0], [5.0]])
    joblib.dump(scaler, written)
    np.testing.assert_array_equal(unpickle_scaler(written.getvalue()).transform([[2.0]]), scaler.transform([[2.0]]))


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps(DtypeWithFields(), protocol=4),
        b"\x80\x04cjoblib.numpy_pickle\nNumpyArrayWrapper\n)\x81}\x8c\x05dtype\x8c\x02f8sb.",
        b"\x80\x04cjoblib.numpy_pickle\nNumpyArrayWrapper\n)\x81N}\x86b.",
        pickle.dumps(np.dtype("O8"), protocol=4),
    ],
    ids=["a number with fields", "an array without a dtype", "an array whose state is no dictionary", "objects"],
)
def test_unpickle_scaler_rejects_more_than_plain_numbers(content: bytes) -> None:
    with pytest.raises(ValueError, match=NOT_PLAIN_NUMBERS):
        unpickle_scaler(content)


# Pickles that run code


@pytest.mark.parametrize("payload", PAYLOADS)
def test_joblib_runs_payload(tmp_path: Path, payload: str) -> None:
    """The payloads are effective; otherwise the next test could not fail."""
    marker = tmp_path / "marker"
    joblib.load(BytesIO(PAYLOADS[payload](marker)))
    assert marker.exists()


@pytest.mark.parametrize("name", SHIPPED_MODELS)
@pytest.mark.parametrize("payload", PAYLOADS)
def test_read_artifact_rejects_payload_without_running_it(
    models: Path, tmp_path: Path, payload: str, name: str
) -> None:
    marker = tmp_path / "marker"
    path = current_path(models, name)
    (path / "scaler.joblib").write_bytes(PAYLOADS[payload](marker))
    reseal_manifest(path)
    error = read_invalid_artifact(path)
    assert error.path == path / "scaler.joblib"
    assert error.reason.startswith("the scaler cannot be used: ")
    assert not marker.exists()


def test_read_artifact_rejected_pickle_reports_its_reference(models: Path) -> None:
    path = current_path(models, "default")
    (path / "scaler.joblib").write_bytes(joblib_bytes(PickledCall(eval, ("1",))))
    reseal_manifest(path)
    assert "the pickle refers to builtins.eval, which is not allowed in a scaler" in read_invalid_artifact(path).reason


def test_read_artifact_altered_pickle_is_not_loaded(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = current_path(models, "default")
    loaded: list[bytes] = []
    monkeypatch.setattr(store, "unpickle_scaler", loaded.append)
    (path / "scaler.joblib").write_bytes(joblib_bytes(PickledCall(eval, ("1",))))
    assert read_invalid_artifact(path).path == path / "scaler.joblib"
    assert loaded == []


# Harmless pickles


@pytest.mark.parametrize(
    "value",
    [
        RobustScaler().fit([[0.0], [1.0]]),
        MaxAbsScaler().fit([[0.0], [1.0]]),
        StandardScaler(),
        StandardScaler().fit([[1.0], [2.0]]),  # centers, which log_return does not allow
        MinMaxScaler().fit([[1.0], [2.0]]),  # so does this one
        StandardScaler(with_mean=False).fit([[1.0, 2.0], [2.0, 1.0]]),
        scaler_with(scale_=np.array([np.nan])),
        scaler_with(scale_=np.array([np.inf])),
        scaler_with(scale_="wide"),
        np.ones(3),
        np.float64(1.0),
        {"scale_": [1.0]},
        None,
    ],
    ids=lambda value: type(value).__name__,
)
def test_read_artifact_unsuitable_scaler_is_rejected(models: Path, value: object) -> None:
    path = current_path(models, "default")
    (path / "scaler.joblib").write_bytes(joblib_bytes(value))
    reseal_manifest(path)
    error = read_invalid_artifact(path)
    assert error.path == path / "scaler.joblib"
    assert error.reason.startswith("the scaler cannot be used: ")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b".",
        b"garbage",
        joblib_bytes(scaler_with())[:-30],
        joblib_bytes(scaler_with())[: len(joblib_bytes(scaler_with())) // 2],
    ],
)
def test_read_artifact_broken_pickle_is_rejected(models: Path, content: bytes) -> None:
    path = current_path(models, "default")
    (path / "scaler.joblib").write_bytes(content)
    reseal_manifest(path)
    error = read_invalid_artifact(path)
    assert error.path == path / "scaler.joblib"
    assert error.reason.removeprefix("the scaler cannot be used: ")


@pytest.mark.parametrize("protocol", [3, 4, 5])  # protocol 2 writes bytes as a call of a codec
def test_read_artifact_accepts_pickle_protocols_with_bytes(models: Path, protocol: int) -> None:
    path = current_path(models, "default")
    before = store.read_artifact(path).transform
    joblib.dump(unpickle_scaler((path / "scaler.joblib").read_bytes()), path / "scaler.joblib", protocol=protocol)
    reseal_manifest(path)
    assert store.read_artifact(path).transform == before
