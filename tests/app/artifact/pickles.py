"""Pickles for tests of the scaler's loader: scalers, pickles that run code, and pickles written opcode by opcode."""

import functools
import importlib
import operator
import os
import pickle
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from sklearn.preprocessing import StandardScaler


def joblib_bytes(value: object, compress: int | tuple[str, int] = 0) -> bytes:
    """Return what `joblib.dump` writes."""
    with BytesIO() as file:
        joblib.dump(value, file, compress=compress)
        return file.getvalue()


def scaler_with(**attributes: object) -> StandardScaler:
    """Return a scaler like that of the default model, with some attributes replaced."""
    scaler = StandardScaler(with_mean=False).fit([[0.0], [2.0]])
    for name, value in attributes.items():
        setattr(scaler, name, value)
    return scaler


# Pickles written opcode by opcode


def pickle_of(opcodes: bytes) -> bytes:
    """Return a complete pickle, protocol 4."""
    return b"\x80\x04" + opcodes + b"."


def push_text(value: str) -> bytes:
    """Return the opcode that pushes a string."""
    return b"\x8c" + bytes([len(value.encode())]) + value.encode()


def push_global(module: str, name: str) -> bytes:
    """Return the opcodes that push a class or function by its name, which may contain dots."""
    return push_text(module) + push_text(name) + b"\x93"


def push_instance(module: str, name: str, attributes: dict[str, bytes]) -> bytes:
    """Return the opcodes that push an instance, with the opcodes that push each of its attributes."""
    pairs = b"".join(push_text(attribute) + value for attribute, value in attributes.items())
    return push_global(module, name) + b")\x81}(" + pairs + b"ub"


def push_dtype(code: str) -> bytes:
    """Return the opcodes that push a NumPy dtype."""
    return push_global("numpy", "dtype") + push_text(code) + b"\x89\x88\x87R"  # called with code, False, True


def push_joblib_array(dtype: bytes, content: bytes) -> bytes:
    """Return the opcodes that push an array of one element, stored after them as joblib does.

    Args:
        dtype: The opcodes that push its dtype.
        content: The bytes of the element.
    """
    attributes = {
        "subclass": push_global("numpy", "ndarray"),
        "shape": b"K\x01\x85",
        "order": push_text("C"),
        "dtype": dtype,
        "allow_mmap": b"\x89",
        "numpy_array_alignment_bytes": b"N",
    }
    return push_instance("joblib.numpy_pickle", "NumpyArrayWrapper", attributes) + content


def nest_in_object_array(opcodes: bytes) -> bytes:
    """Return opcodes that push an array of objects, whose elements joblib reads from a nested pickle."""
    return push_joblib_array(push_dtype("O8"), pickle_of(opcodes))


# Pickles that run code when an unrestricted loader reads them


@dataclass(frozen=True)
class PickledCall:
    """Pickles as a call, which unpickling makes."""

    function: Any
    arguments: tuple[Any, ...]

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.function, self.arguments

    def __call__(self) -> None:
        """Do nothing. The pickler requires a callable where the result of one call is the function of another."""


def _shell(marker: Path) -> str:
    return f"touch {shlex.quote(str(marker))}"


def _system(marker: Path) -> PickledCall:
    return PickledCall(os.system, (_shell(marker),))


def _in_another_file(marker: Path) -> bytes:
    other = marker.with_name("other.joblib")
    other.write_bytes(joblib_bytes(_system(marker)))
    return joblib_bytes(PickledCall(joblib.load, (str(other),)))


def _through_an_allowed_module(marker: Path) -> bytes:
    """`os.system`, named as an attribute of a module that the scaler's own arrays need."""
    return pickle_of(push_global("joblib.numpy_pickle", "os.system") + push_text(_shell(marker)) + b"\x85R")


# Each creates the marker file when joblib loads it.
PAYLOADS: dict[str, Callable[[Path], bytes]] = {
    "os.system": lambda marker: joblib_bytes(_system(marker)),
    "os.system, protocol 0": lambda marker: pickle.dumps(_system(marker), protocol=0),
    "os.system, protocol 2": lambda marker: pickle.dumps(_system(marker), protocol=2),
    "eval": lambda marker: joblib_bytes(PickledCall(eval, (f"open({str(marker)!r}, 'w').close()",))),
    "exec": lambda marker: joblib_bytes(PickledCall(exec, (f"open({str(marker)!r}, 'w').close()",))),
    "Path.touch through a method caller": lambda marker: joblib_bytes(
        PickledCall(PickledCall(operator.methodcaller, ("touch",)), (marker,))
    ),
    "a partial": lambda marker: joblib_bytes(
        PickledCall(PickledCall(functools.partial, (os.system, _shell(marker))), ())
    ),
    "getattr of an imported module": lambda marker: joblib_bytes(
        PickledCall(PickledCall(getattr, (PickledCall(importlib.import_module, ("os",)), "system")), (_shell(marker),))
    ),
    "map, run by list": lambda marker: joblib_bytes(
        PickledCall(list, (PickledCall(map, (os.system, [_shell(marker)])),))
    ),
    "an attribute of a scaler": lambda marker: joblib_bytes(scaler_with(copy=_system(marker))),
    "an array of objects": lambda marker: joblib_bytes(np.array([_system(marker)], dtype=object)),
    "an array of objects in a scaler": lambda marker: joblib_bytes(
        scaler_with(scale_=np.array([_system(marker)], dtype=object))
    ),
    "another file": _in_another_file,
    "a name with dots": _through_an_allowed_module,
    "zlib": lambda marker: joblib_bytes(_system(marker), compress=3),
    "gzip": lambda marker: joblib_bytes(_system(marker), compress=("gzip", 3)),
    "bz2": lambda marker: joblib_bytes(_system(marker), compress=("bz2", 3)),
    "xz": lambda marker: joblib_bytes(_system(marker), compress=("xz", 3)),
    "after a good scaler's frame": lambda marker: joblib_bytes([scaler_with(), _system(marker)]),
}
