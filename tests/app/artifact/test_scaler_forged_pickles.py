"""Hand-assembled pickles can neither modify classes nor forge objects."""

import subprocess
import sys
from pathlib import Path

import pytest
from joblib.numpy_pickle import NumpyArrayWrapper

from app.artifact import store
from tests.app.artifact.artifact_files import current_path, read_invalid_artifact, reseal_manifest
from tests.app.artifact.pickles import (
    nest_in_object_array,
    pickle_of,
    push_dtype,
    push_global,
    push_instance,
    push_joblib_array,
    push_text,
)
from tests.conftest import ROOT

# Sets an attribute of a class, which would last for the whole process. The state is (None, {"read": None}).
CHANGES_A_CLASS = push_global("joblib.numpy_pickle", "NumpyArrayWrapper") + b"N}" + push_text("read") + b"Ns\x86b"


@pytest.mark.parametrize("opcodes", [CHANGES_A_CLASS, nest_in_object_array(CHANGES_A_CLASS)], ids=["plain", "nested"])
def test_rejected_pickle_changes_no_class(models: Path, monkeypatch: pytest.MonkeyPatch, opcodes: bytes) -> None:
    monkeypatch.setattr(NumpyArrayWrapper, "read", NumpyArrayWrapper.read)  # restored even if this test fails
    path = current_path(models, "default")
    (path / "scaler.joblib").write_bytes(pickle_of(opcodes))
    reseal_manifest(path)
    assert read_invalid_artifact(path).path == path / "scaler.joblib"
    assert store.read_artifact(current_path(models, "tutorial")).manifest.name == "tutorial"


def dtype_that_hides_its_object() -> bytes:
    """Push the dtype of a structure with one object, whose state claims with its last number that it has none."""
    fields = b"}" + push_text("a") + push_dtype("O8") + b"K\x00\x86s"  # {"a": (the dtype of objects, 0)}
    return (
        push_dtype("V8") + b"(K\x03" + push_text("|") + b"N" + push_text("a") + b"\x85" + fields + b"K\x08K\x01K\x00tb"
    )


ADDRESS = b"A" * 8
PUSH_ADDRESS = b"C\x08" + ADDRESS

# Each turns an address from the file into a Python object. Any access to that object crashes the process.
FORGED = {
    "an array whose dtype hides its objects": push_joblib_array(dtype_that_hides_its_object(), ADDRESS),
    "a scalar whose dtype hides its objects": (
        push_global("numpy._core.multiarray", "scalar") + dtype_that_hides_its_object() + PUSH_ADDRESS + b"\x86R"
    ),
    "an array of objects over a buffer": (
        push_global("numpy", "ndarray") + b"K\x01\x85" + push_dtype("O8") + PUSH_ADDRESS + b"\x87R"
    ),
    "the same by the name of the dtype": (
        push_global("numpy", "ndarray") + b"K\x01\x85" + push_text("O") + PUSH_ADDRESS + b"\x87R"
    ),
    "the same without a call": (
        push_global("numpy", "ndarray") + b"K\x01\x85" + push_text("O") + PUSH_ADDRESS + b"\x87\x81"
    ),
}

LOADS_EACH_FILE = """
import sys
from pathlib import Path
from app.artifact.scaler import unpickle_scaler

for path in sys.argv[1:]:
    print(Path(path).name, flush=True)  # if the process crashes, the last name printed is the culprit
    try:
        unpickle_scaler(Path(path).read_bytes())
    except Exception as error:
        print(f"rejected: {error}", flush=True)
    else:
        print("accepted", flush=True)
"""


def test_forged_objects_are_never_created(tmp_path: Path) -> None:
    """Load each pickle in another process, which would crash: once as it is and once nested in an array of objects."""
    rest = {"with_std": b"\x88", "copy": b"\x88", "n_features_in_": b"K\x01", "scale_": b"N"}
    paths = []
    for name, forged in FORGED.items():
        for suffix, opcodes in (("", forged), (", nested", nest_in_object_array(forged))):
            path = tmp_path / (name + suffix)
            scaler = push_instance("sklearn.preprocessing._data", "StandardScaler", {"with_mean": opcodes, **rest})
            path.write_bytes(pickle_of(scaler))
            paths.append(path)
    command = [sys.executable, "-c", LOADS_EACH_FILE, *map(str, paths)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()
    assert lines[::2] == [path.name for path in paths]
    assert [line for line in lines[1::2] if not line.startswith("rejected: ")] == []
    assert done.returncode == 0
