"""Nothing altered is believed, no pickle acts, and a version is published whole or not at all."""

import functools
import hashlib
import importlib
import json
import operator
import os
import pickle
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from joblib.numpy_pickle import NumpyArrayWrapper
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler

from app.artifact import store
from app.artifact.manifest import Draft, Manifest
from app.artifact.scaler import unpickle
from app.artifact.store import read_version
from app.artifact.transform import LogReturn, MinMaxPrice
from app.errors import ArtifactError
from tests.conftest import ROOT

SHIPPED = ["default", "tutorial"]


def reseal(path: Path, **changes: object) -> None:
    """Makes the manifest agree with the files as they now are, as whoever may write there could; changes it besides."""
    document = json.loads((path / store.MANIFEST).read_text(encoding="utf-8")) | changes
    for name in document["files"]:
        content = (path / name).read_bytes()
        document["files"][name] = {"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}
    (path / store.MANIFEST).write_text(json.dumps(document), encoding="utf-8")


def place(models: Path, name: str) -> Path:
    """Where the current version of a model lies."""
    return models / name / store.current(models, name)


def refused(path: Path) -> ArtifactError:
    """The error with which the artifact in `path` is refused."""
    with pytest.raises(ArtifactError) as caught:
        store.read(path)
    assert caught.value.path.is_relative_to(path)
    assert str(path) not in caught.value.reason
    return caught.value


def files_of(name: str) -> list[str]:
    """The files of a shipped model that its manifest lists, for tests that take each of them."""
    content = (place(ROOT / "models", name) / store.MANIFEST).read_bytes()
    return sorted(Manifest.model_validate_json(content).files)


EVERY_FILE = pytest.mark.parametrize(("name", "file"), [(name, file) for name in SHIPPED for file in files_of(name)])


# Reading


@pytest.mark.parametrize(("name", "transform"), [("default", LogReturn), ("tutorial", MinMaxPrice)])
def test_a_shipped_model_is_read(shipped: Path, name: str, transform: type) -> None:
    version = store.current(shipped, name)
    artifact = read_version(shipped, name, version)
    assert artifact.path == shipped / name / version
    assert (artifact.manifest.name, artifact.manifest.version) == (name, version)
    assert isinstance(artifact.transform, transform)
    assert artifact.transform.kind == artifact.manifest.transform.kind
    assert artifact.onnx == (artifact.path / "model.onnx").read_bytes()
    assert artifact.keras == artifact.path / "model.keras"
    assert artifact.keras.is_file()


@pytest.mark.parametrize("name", SHIPPED)
def test_a_resealed_copy_is_read(models: Path, name: str) -> None:
    reseal(place(models, name))
    assert store.read(place(models, name)).manifest.name == name


@EVERY_FILE
def test_a_missing_file_is_named(models: Path, name: str, file: str) -> None:
    path = place(models, name)
    (path / file).unlink()
    error = refused(path)
    assert error.path == path / file
    assert error.reason == "No such file or directory"


@EVERY_FILE
def test_a_flipped_byte_is_noticed(models: Path, name: str, file: str) -> None:
    path = place(models, name) / file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    error = refused(path.parent)
    assert error.path == path
    assert "differs from what was published" in error.reason


@pytest.mark.parametrize("change", [lambda content: content[:-1], lambda content: content + b"\0"])
def test_a_cut_or_longer_file_is_noticed(models: Path, change: Callable[[bytes], bytes]) -> None:
    path = place(models, "default") / "report.html"
    path.write_bytes(change(path.read_bytes()))
    assert refused(path.parent).path == path


def test_a_directory_in_place_of_a_file_is_named(models: Path) -> None:
    path = place(models, "default") / "scaler.joblib"
    path.unlink()
    path.mkdir()
    assert (refused(path.parent).path, refused(path.parent).reason) == (path, "Is a directory")


def test_a_missing_manifest_is_named(models: Path) -> None:
    path = place(models, "default") / "manifest.json"
    path.unlink()
    assert (refused(path.parent).path, refused(path.parent).reason) == (path, "No such file or directory")


@pytest.fixture(scope="module")
def only_a_manifest(shipped: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("artifact")
    shutil.copy(place(shipped, "default") / store.MANIFEST, directory)
    return directory


@settings(max_examples=25, deadline=None)
@given(where=st.floats(0, 1, exclude_max=True))
def test_a_flipped_byte_in_the_manifest_is_noticed(only_a_manifest: Path, where: float) -> None:
    path = only_a_manifest / store.MANIFEST
    intact = path.read_bytes()
    content = bytearray(intact)
    content[int(where * len(content))] ^= 0x80  # no longer UTF-8, wherever it is
    path.write_bytes(content)
    try:
        error = refused(only_a_manifest)
    finally:
        path.write_bytes(intact)
    assert error.path == path
    assert error.reason


def test_a_digest_of_the_manifest_that_was_changed_is_noticed(models: Path) -> None:
    path = place(models, "default")
    text = (path / store.MANIFEST).read_text(encoding="utf-8")
    digest = store.read(path).manifest.files["model.onnx"].sha256
    (path / store.MANIFEST).write_text(text.replace(digest, digest[::-1]), encoding="utf-8")
    assert refused(path).path == path / "model.onnx"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the document: Invalid JSON"),
        (b"not JSON", "the document: Invalid JSON"),
        (b'{"format_version": 1', "the document: Invalid JSON"),
        (b"\xff\xfe", "the document: Invalid JSON"),
        (b"[" * 100_000, "the document: Invalid JSON"),
        (b"[]", "the document: Input should be an object"),
        (b"{}", "Field required"),
    ],
    ids=["nothing", "text", "half", "bytes", "deep", "list", "empty"],
)
def test_a_manifest_that_is_none_is_refused(models: Path, content: bytes, reason: str) -> None:
    path = place(models, "default") / "manifest.json"
    path.write_bytes(content)
    error = refused(path.parent)
    assert error.path == path
    assert reason in error.reason


def test_an_unknown_format_version_is_refused(models: Path) -> None:
    path = place(models, "default")
    reseal(path, format_version=2)
    error = refused(path)
    assert error.path == path / "manifest.json"
    assert error.reason.startswith("format_version: ")


def test_the_first_fault_of_a_manifest_is_placed(models: Path) -> None:
    path = place(models, "default")
    reseal(path, calibration={"center": "network", "offsets": [["wide"]]})
    assert refused(path).reason.startswith("calibration.offsets.0.0: ")


@pytest.mark.parametrize("change", [{"name": "tutorial"}, {"version": "999"}])
def test_a_manifest_of_another_model_or_version_is_refused(models: Path, change: dict[str, str]) -> None:
    version = store.current(models, "default")
    reseal(models / "default" / version, **change)
    with pytest.raises(ArtifactError, match="another model or version than its directory") as caught:
        read_version(models, "default", version)
    assert caught.value.path == models / "default" / version / "manifest.json"


def test_a_version_that_is_not_there_is_named(shipped: Path) -> None:
    with pytest.raises(ArtifactError) as caught:
        read_version(shipped, "default", "999999999")
    assert caught.value.path == shipped / "default" / "999999999" / "manifest.json"


# What there is


def test_the_shipped_models_are_listed(shipped: Path) -> None:
    assert {"default", "tutorial"} <= set(store.names(shipped))
    for name in SHIPPED:
        assert store.current(shipped, name) in store.versions(shipped, name)


def test_without_a_models_directory_there_are_no_names(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no such directory of models") as caught:
        store.names(tmp_path / "models")
    assert caught.value.path == tmp_path / "models"


def test_an_unknown_model_has_no_versions(tmp_path: Path) -> None:
    assert store.versions(tmp_path, "default") == []


def test_only_models_with_a_current_version_are_listed(tmp_path: Path) -> None:
    for name in ("b", "a", "without", "Not-a-name", ".staging-abc"):
        (tmp_path / name).mkdir()
        if name != "without":
            (tmp_path / name / "current").write_text("1\n")
    (tmp_path / "file").write_text("1\n")
    assert store.names(tmp_path) == ["a", "b"]


def test_versions_are_directories_with_a_number_oldest_first(tmp_path: Path) -> None:
    for name in ("10", "9", "2", "0", "01", "1.0", "x", ".staging-abc", "1234567890"):
        (tmp_path / "m" / name).mkdir(parents=True)
    (tmp_path / "m" / "3").write_text("a file")
    (tmp_path / "m" / ".staging-current").write_text("3\n")
    assert store.versions(tmp_path, "m") == ["2", "9", "10"]


@pytest.mark.parametrize("content", ["7", "7\n", " 7 \r\n"])
def test_current_is_a_number_and_perhaps_white_space(tmp_path: Path, content: str) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "current").write_bytes(content.encode())
    assert store.current(tmp_path, "m") == "7"


@pytest.mark.parametrize("content", [b"", b"\n", b"latest", b"0", b"-1", b"1 2", b"../1", b"1\x002", b"1234567890"])
def test_current_that_names_no_version_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "current").write_bytes(content)
    with pytest.raises(ArtifactError, match="must hold a version number") as caught:
        store.current(tmp_path, "m")
    assert caught.value.path == tmp_path / "m" / "current"


@pytest.mark.parametrize("content", ["１".encode(), b"\xff1"])
def test_current_that_is_not_ascii_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "current").write_bytes(content)
    with pytest.raises(ArtifactError, match="ascii") as caught:
        store.current(tmp_path, "m")
    assert caught.value.path == tmp_path / "m" / "current"


def test_a_missing_current_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="No such file") as caught:
        store.current(tmp_path, "m")
    assert caught.value.path == tmp_path / "m" / "current"


# The pickle


@dataclass(frozen=True)
class Calls:
    """Is pickled as a call: whoever unpickles it, makes it."""

    function: Any
    arguments: tuple[Any, ...]

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.function, self.arguments

    def __call__(self) -> None:
        """Never called; the pickler asks for it where one call gives the function of another."""


def dumped(value: object, compress: int | tuple[str, int] = 0) -> bytes:
    """What joblib writes of it."""
    with BytesIO() as file:
        joblib.dump(value, file, compress=compress)
        return file.getvalue()


def shell(marker: Path) -> str:
    return f"touch {shlex.quote(str(marker))}"


def system(marker: Path) -> Calls:
    return Calls(os.system, (shell(marker),))


def scaler_with(**attributes: object) -> StandardScaler:
    """A scaler as the default model has one, but for these attributes."""
    scaler = StandardScaler(with_mean=False).fit([[0.0], [2.0]])
    for name, value in attributes.items():
        setattr(scaler, name, value)
    return scaler


def in_another_file(marker: Path) -> bytes:
    other = marker.with_name("other.joblib")
    other.write_bytes(dumped(system(marker)))
    return dumped(Calls(joblib.load, (str(other),)))


def text(value: str) -> bytes:
    """The opcode that pushes a string."""
    return b"\x8c" + bytes([len(value.encode())]) + value.encode()


def found(module: str, name: str) -> bytes:
    """The opcodes that push a class or function by its name, which may have dots."""
    return text(module) + text(name) + b"\x93"


def through_an_admitted_module(marker: Path) -> bytes:
    """`os.system`, found as an attribute of a module that the scaler's own arrays need."""
    return pickled(found("joblib.numpy_pickle", "os.system") + text(shell(marker)) + b"\x85R")


PAYLOADS: dict[str, Callable[[Path], bytes]] = {
    "os.system": lambda marker: dumped(system(marker)),
    "os.system, protocol 0": lambda marker: pickle.dumps(system(marker), protocol=0),
    "os.system, protocol 2": lambda marker: pickle.dumps(system(marker), protocol=2),
    "eval": lambda marker: dumped(Calls(eval, (f"open({str(marker)!r}, 'w').close()",))),
    "exec": lambda marker: dumped(Calls(exec, (f"open({str(marker)!r}, 'w').close()",))),
    "Path.touch through a method caller": lambda marker: dumped(
        Calls(Calls(operator.methodcaller, ("touch",)), (marker,))
    ),
    "a partial": lambda marker: dumped(Calls(Calls(functools.partial, (os.system, shell(marker))), ())),
    "getattr of an imported module": lambda marker: dumped(
        Calls(Calls(getattr, (Calls(importlib.import_module, ("os",)), "system")), (shell(marker),))
    ),
    "map, run by list": lambda marker: dumped(Calls(list, (Calls(map, (os.system, [shell(marker)])),))),
    "an attribute of a scaler": lambda marker: dumped(scaler_with(copy=system(marker))),
    "an array of objects": lambda marker: dumped(np.array([system(marker)], dtype=object)),
    "an array of objects in a scaler": lambda marker: dumped(
        scaler_with(scale_=np.array([system(marker)], dtype=object))
    ),
    "another file": in_another_file,
    "a name with dots": through_an_admitted_module,
    "zlib": lambda marker: dumped(system(marker), compress=3),
    "gzip": lambda marker: dumped(system(marker), compress=("gzip", 3)),
    "bz2": lambda marker: dumped(system(marker), compress=("bz2", 3)),
    "xz": lambda marker: dumped(system(marker), compress=("xz", 3)),
    "after a good scaler's frame": lambda marker: dumped([scaler_with(), system(marker)]),
}


@pytest.mark.parametrize("payload", PAYLOADS)
def test_a_payload_acts_where_nobody_refuses_it(tmp_path: Path, payload: str) -> None:
    """Otherwise the next test would prove nothing."""
    marker = tmp_path / "marker"
    joblib.load(BytesIO(PAYLOADS[payload](marker)))
    assert marker.exists()


@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize("payload", PAYLOADS)
def test_a_payload_does_not_act_here(models: Path, tmp_path: Path, payload: str, name: str) -> None:
    marker = tmp_path / "marker"
    path = place(models, name)
    (path / "scaler.joblib").write_bytes(PAYLOADS[payload](marker))
    reseal(path)
    error = refused(path)
    assert error.path == path / "scaler.joblib"
    assert error.reason.startswith("not a scaler for this artifact: ")
    assert not marker.exists()


def test_a_refused_pickle_says_what_it_asked_for(models: Path, tmp_path: Path) -> None:
    path = place(models, "default")
    (path / "scaler.joblib").write_bytes(dumped(Calls(eval, ("1",))))
    reseal(path)
    assert "the pickle asks for builtins.eval, which no scaler needs" in refused(path).reason


def test_an_altered_pickle_is_not_even_opened(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = place(models, "default")
    opened: list[bytes] = []
    monkeypatch.setattr(store, "unpickle", opened.append)
    (path / "scaler.joblib").write_bytes(dumped(Calls(eval, ("1",))))
    assert refused(path).path == path / "scaler.joblib"
    assert opened == []


@pytest.mark.parametrize(
    "value",
    [
        RobustScaler().fit([[0.0], [1.0]]),
        MaxAbsScaler().fit([[0.0], [1.0]]),
        StandardScaler(),
        StandardScaler().fit([[1.0], [2.0]]),  # centres, which log_return cannot use
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
def test_what_is_no_scaler_for_this_artifact_is_refused(models: Path, value: object) -> None:
    path = place(models, "default")
    (path / "scaler.joblib").write_bytes(dumped(value))
    reseal(path)
    error = refused(path)
    assert error.path == path / "scaler.joblib"
    assert error.reason.startswith("not a scaler for this artifact: ")


@pytest.mark.parametrize(
    "content",
    [b"", b".", b"garbage", dumped(scaler_with())[:-30], dumped(scaler_with())[: len(dumped(scaler_with())) // 2]],
)
def test_a_broken_pickle_is_refused(models: Path, content: bytes) -> None:
    path = place(models, "default")
    (path / "scaler.joblib").write_bytes(content)
    reseal(path)
    error = refused(path)
    assert error.path == path / "scaler.joblib"
    assert error.reason.removeprefix("not a scaler for this artifact: ")


@pytest.mark.parametrize("protocol", [3, 4, 5])  # 2 writes bytes as a call of a codec
def test_a_scaler_is_read_in_any_protocol_that_has_bytes(models: Path, protocol: int) -> None:
    path = place(models, "default")
    before = store.read(path).transform
    joblib.dump(unpickle((path / "scaler.joblib").read_bytes()), path / "scaler.joblib", protocol=protocol)
    reseal(path)
    assert store.read(path).transform == before


# Pickles below this line are written by hand: what they do, no object asks for.


def pickled(opcodes: bytes) -> bytes:
    return b"\x80\x04" + opcodes + b"."


def built(module: str, name: str, attributes: dict[str, bytes]) -> bytes:
    """The opcodes that make an instance and set its attributes to what these opcodes push."""
    pairs = b"".join(text(attribute) + value for attribute, value in attributes.items())
    return found(module, name) + b")\x81}(" + pairs + b"ub"


def dtype(code: str) -> bytes:
    return found("numpy", "dtype") + text(code) + b"\x89\x88\x87R"  # called with code, False, True


def array_of(kind: bytes, content: bytes) -> bytes:
    """The opcodes that read one element of this dtype from the content that follows, as joblib does."""
    attributes = {
        "subclass": found("numpy", "ndarray"),
        "shape": b"K\x01\x85",
        "order": text("C"),
        "dtype": kind,
        "allow_mmap": b"\x89",
        "numpy_array_alignment_bytes": b"N",
    }
    return built("joblib.numpy_pickle", "NumpyArrayWrapper", attributes) + content


def within(opcodes: bytes) -> bytes:
    """The same opcodes in a pickle of their own: joblib reads such a one where an array of objects is."""
    return array_of(dtype("O8"), pickled(opcodes))


# Sets an attribute of a class, which there is one of in the whole process: (None, {"read": None}) is the state.
CHANGES_A_CLASS = found("joblib.numpy_pickle", "NumpyArrayWrapper") + b"N}" + text("read") + b"Ns\x86b"


@pytest.mark.parametrize("opcodes", [CHANGES_A_CLASS, within(CHANGES_A_CLASS)], ids=["plain", "within"])
def test_a_refused_pickle_leaves_nothing_behind_for_the_next(
    models: Path, monkeypatch: pytest.MonkeyPatch, opcodes: bytes
) -> None:
    monkeypatch.setattr(NumpyArrayWrapper, "read", NumpyArrayWrapper.read)  # puts it back, should this test fail
    path = place(models, "default")
    (path / "scaler.joblib").write_bytes(pickled(opcodes))
    reseal(path)
    assert refused(path).path == path / "scaler.joblib"
    assert store.read(place(models, "tutorial")).manifest.name == "tutorial"


def denies_its_objects() -> bytes:
    """The dtype of a structure of one object, whose state says with its last number that it holds none."""
    fields = b"}" + text("a") + dtype("O8") + b"K\x00\x86s"  # {"a": (the dtype of objects, 0)}
    return dtype("V8") + b"(K\x03" + text("|") + b"N" + text("a") + b"\x85" + fields + b"K\x08K\x01K\x00tb"


ADDRESS = b"A" * 8
BYTES = b"C\x08" + ADDRESS  # the opcode that pushes them

# Each makes objects of what lies at an address that the file names, and ends the process once anybody looks at them.
FORGED = {
    "an array whose dtype denies its objects": array_of(denies_its_objects(), ADDRESS),
    "a scalar whose dtype denies its objects": (
        found("numpy._core.multiarray", "scalar") + denies_its_objects() + BYTES + b"\x86R"
    ),
    "an array of objects over a buffer": found("numpy", "ndarray") + b"K\x01\x85" + dtype("O8") + BYTES + b"\x87R",
    "the same by the name of the dtype": found("numpy", "ndarray") + b"K\x01\x85" + text("O") + BYTES + b"\x87R",
    "the same without a call": found("numpy", "ndarray") + b"K\x01\x85" + text("O") + BYTES + b"\x87\x81",
}


READS = """
import sys
from pathlib import Path
from app.artifact.scaler import unpickle

for path in sys.argv[1:]:
    print(Path(path).name, flush=True)  # the last one printed is the one that ended the process
    try:
        unpickle(Path(path).read_bytes())
    except Exception as error:
        print(f"refused: {error}", flush=True)
    else:
        print("accepted", flush=True)
"""


def test_no_forged_object_is_ever_made(tmp_path: Path) -> None:
    """In a process of its own, which is what would end. Each as it is, and where joblib reads an array of objects."""
    rest = {"with_std": b"\x88", "copy": b"\x88", "n_features_in_": b"K\x01", "scale_": b"N"}
    paths = []
    for name, forged in FORGED.items():
        for suffix, opcodes in (("", forged), (", within", within(forged))):
            path = tmp_path / (name + suffix)
            scaler = built("sklearn.preprocessing._data", "StandardScaler", {"with_mean": opcodes, **rest})
            path.write_bytes(pickled(scaler))
            paths.append(path)
    command = [sys.executable, "-c", READS, *map(str, paths)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()
    assert lines[::2] == [path.name for path in paths]
    assert [line for line in lines[1::2] if not line.startswith("refused: ")] == []
    assert done.returncode == 0


# Publishing


@pytest.fixture(scope="module")
def draft(shipped: Path) -> Draft:
    manifest = store.read(place(shipped, "default")).manifest
    return Draft(**{name: getattr(manifest, name) for name in Draft.model_fields})


CONTENT = {"model.keras": b"k" * 3, "model.onnx": b"o" * 5, "scaler.joblib": b"s" * 7, "report.html": b""}


def fill(directory: Path) -> None:
    for name, content in CONTENT.items():
        (directory / name).write_bytes(content)


def accept(path: Path) -> None:
    """A check that finds nothing wrong."""


def publish(models_dir: Path, draft: Draft, check: Callable[[Path], object] = accept, name: str = "m") -> str:
    with store.staging(models_dir, name) as stage:
        fill(stage.path)
        return stage.publish(draft, check)


def listed(directory: Path) -> list[str]:
    """Everything in it, hidden or not."""
    return sorted(path.name for path in directory.iterdir())


def test_versions_count_up_and_current_moves(tmp_path: Path, draft: Draft) -> None:
    for number in range(1, 12):
        assert publish(tmp_path, draft) == str(number)
        assert store.current(tmp_path, "m") == str(number)
    assert store.versions(tmp_path, "m") == [str(number) for number in range(1, 12)]
    assert listed(tmp_path / "m") == sorted([*store.versions(tmp_path, "m"), "current"])
    assert store.names(tmp_path) == ["m"]


def test_a_published_directory_is_whole_and_sealed(tmp_path: Path, draft: Draft) -> None:
    path = tmp_path / "m" / publish(tmp_path, draft)
    assert listed(path) == sorted([*CONTENT, "manifest.json"])
    manifest = Manifest.model_validate_json((path / "manifest.json").read_bytes())
    assert (manifest.name, manifest.version, manifest.format_version) == ("m", "1", 1)
    assert manifest.created.utcoffset() is not None
    assert {name: getattr(manifest, name) for name in Draft.model_fields} == dict(draft)
    assert {name: (file.sha256, file.size_bytes) for name, file in manifest.files.items()} == {
        name: (hashlib.sha256(content).hexdigest(), len(content)) for name, content in CONTENT.items()
    }


def test_what_was_published_from_shipped_files_is_read_again(shipped: Path, tmp_path: Path, draft: Draft) -> None:
    with store.staging(tmp_path, "again") as stage:
        for name in ("model.keras", "model.onnx", "scaler.joblib"):
            shutil.copy(place(shipped, "default") / name, stage.path)
        version = stage.publish(draft, store.read)
    assert read_version(tmp_path, "again", version).manifest.golden == draft.golden


def test_a_manifest_left_in_the_staging_directory_is_replaced(tmp_path: Path, draft: Draft) -> None:
    with store.staging(tmp_path, "m") as stage:
        fill(stage.path)
        (stage.path / "manifest.json").write_text("{}")
        stage.publish(draft, accept)
    manifest = Manifest.model_validate_json((tmp_path / "m" / "1" / "manifest.json").read_bytes())
    assert sorted(manifest.files) == sorted(CONTENT)


def test_the_check_sees_the_sealed_directory_before_anybody_else(tmp_path: Path, draft: Draft) -> None:
    publish(tmp_path, draft)
    seen: list[tuple[str, list[str], list[str]]] = []

    def look(path: Path) -> None:
        manifest = Manifest.model_validate_json((path / "manifest.json").read_bytes())
        seen.append((manifest.version, listed(path), store.versions(tmp_path, "m")))

    publish(tmp_path, draft, look)
    assert seen == [("2", sorted([*CONTENT, "manifest.json"]), ["1"])]


def test_everything_is_on_disk_before_it_is_in_place(
    tmp_path: Path, draft: Draft, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[str] = []
    monkeypatch.setattr(store, "_flush", lambda path: flushed.append(path.name))
    staged: list[str] = []
    publish(tmp_path, draft, lambda path: staged.extend([path.name, *flushed]))
    name, *before = staged
    assert sorted(before) == sorted([*CONTENT, "manifest.json", name])
    assert before[-1] == name
    assert flushed[len(before) :] == ["m", "current", "m"]


class Stop(Exception):
    """What a check raises here."""


def stop(path: Path) -> None:
    raise Stop


def test_a_check_that_raises_publishes_nothing_and_leaves_the_old_version(tmp_path: Path, draft: Draft) -> None:
    publish(tmp_path, draft)
    with pytest.raises(Stop):
        publish(tmp_path, draft, stop)
    assert listed(tmp_path / "m") == ["1", "current"]
    assert store.current(tmp_path, "m") == "1"
    assert publish(tmp_path, draft) == "2"


def test_a_first_version_that_fails_its_check_leaves_no_model(tmp_path: Path, draft: Draft) -> None:
    with pytest.raises(Stop):
        publish(tmp_path, draft, stop)
    assert listed(tmp_path) == []


@pytest.mark.parametrize("missing", ["model.keras", "model.onnx", "scaler.joblib"])
def test_an_artifact_that_lacks_a_file_is_not_published(tmp_path: Path, draft: Draft, missing: str) -> None:
    def publish_without() -> None:
        with store.staging(tmp_path, "m") as stage:
            fill(stage.path)
            (stage.path / missing).unlink()
            stage.publish(draft, stop)

    with pytest.raises(ValueError, match=f"files must name {missing}"):
        publish_without()
    assert listed(tmp_path) == []


def interrupt(models_dir: Path, error: type[BaseException]) -> None:
    """A run that ends before it publishes."""
    with store.staging(models_dir, "m") as stage:
        fill(stage.path)
        raise error


@pytest.mark.parametrize("error", [Stop, KeyboardInterrupt, SystemExit])
def test_an_interruption_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error):
        interrupt(tmp_path, error)
    assert listed(tmp_path) == []


@pytest.mark.parametrize("error", [Stop, KeyboardInterrupt, SystemExit])
def test_an_interruption_leaves_what_was_published(tmp_path: Path, draft: Draft, error: type[BaseException]) -> None:
    publish(tmp_path, draft)
    with pytest.raises(error):
        interrupt(tmp_path, error)
    assert listed(tmp_path / "m") == ["1", "current"]


def test_a_stage_that_was_never_published_leaves_nothing(tmp_path: Path) -> None:
    with store.staging(tmp_path, "m") as stage:
        assert stage.path.parent == tmp_path / "m"
        assert stage.path.name.startswith(".staging-")
        assert store.versions(tmp_path, "m") == []
    assert listed(tmp_path) == []


def test_two_stages_of_one_model_do_not_meet(tmp_path: Path, draft: Draft) -> None:
    with store.staging(tmp_path, "m") as one, store.staging(tmp_path, "m") as other:
        for stage in (one, other):
            fill(stage.path)
        assert one.publish(draft, accept) == "1"
        assert other.publish(draft, accept) == "2"
    assert listed(tmp_path / "m") == ["1", "2", "current"]


def test_a_version_that_appears_in_the_meantime_keeps_its_number(tmp_path: Path, draft: Draft) -> None:
    checked: list[str] = []

    def overtake(path: Path) -> None:
        version = Manifest.model_validate_json((path / "manifest.json").read_bytes()).version
        checked.append(version)
        if version in "12":
            (tmp_path / "m" / version).mkdir()
            (tmp_path / "m" / version / "manifest.json").write_text("another run's")

    assert publish(tmp_path, draft, overtake) == "3"
    assert checked == ["1", "2", "3"]  # sealed and checked anew under each number
    assert Manifest.model_validate_json((tmp_path / "m" / "3" / "manifest.json").read_bytes()).version == "3"
    assert (tmp_path / "m" / "1" / "manifest.json").read_text() == "another run's"
    assert store.current(tmp_path, "m") == "3"


def test_a_file_with_the_name_of_the_next_version_does_not_keep_publishing_for_ever(
    tmp_path: Path, draft: Draft
) -> None:
    publish(tmp_path, draft)
    (tmp_path / "m" / "2").write_text("no directory")
    checked: list[Path] = []

    def give_up(path: Path) -> None:
        checked.append(path)
        if len(checked) > 10:
            pytest.fail("the same number was tried again and again")

    assert publish(tmp_path, draft, give_up) == "3"


def test_a_rename_that_fails_for_another_reason_is_told(tmp_path: Path, draft: Draft) -> None:
    with pytest.raises(FileNotFoundError):
        publish(tmp_path, draft, shutil.rmtree)
    assert listed(tmp_path) == []


@pytest.mark.parametrize("name", ["", "Default", "../m", "a/b", ".", ".staging-m", "a" * 65, "m\n"])
def test_a_bad_model_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ArtifactError, match="a model's name is"), store.staging(tmp_path / "models", name):
        pytest.fail("never begun")
    assert listed(tmp_path) == []


@pytest.mark.parametrize("name", ["models", "models/m"])
def test_a_file_where_a_directory_should_be_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("no directory")
    with (
        pytest.raises(ArtifactError, match=r"Not a directory|File exists") as caught,
        store.staging(tmp_path / "models", "m"),
    ):
        pytest.fail("never begun")
    assert caught.value.path == tmp_path / "models" / "m"


def test_other_users_may_read_what_was_published(tmp_path: Path, draft: Draft) -> None:
    path = tmp_path / "m" / publish(tmp_path, draft)
    assert path.stat().st_mode & 0o777 == 0o755


def test_leftovers_of_a_killed_run_are_no_versions_and_in_nobodys_way(tmp_path: Path, draft: Draft) -> None:
    left = tmp_path / "m" / ".staging-killed"
    left.mkdir(parents=True)
    fill(left)
    half = tmp_path / "m" / ".staging-of-current"
    half.mkdir()
    (half / "current").write_text("17")
    assert store.names(tmp_path) == []
    assert store.versions(tmp_path, "m") == []
    assert publish(tmp_path, draft) == "1"
    assert store.current(tmp_path, "m") == "1"
    assert store.names(tmp_path) == ["m"]
    assert listed(tmp_path / "m") == [".staging-killed", ".staging-of-current", "1", "current"]


def test_current_can_be_moved_back(tmp_path: Path, draft: Draft) -> None:
    publish(tmp_path, draft)
    publish(tmp_path, draft)
    store.write_current(tmp_path, "m", "1")
    assert store.current(tmp_path, "m") == "1"
    assert publish(tmp_path, draft) == "3"
