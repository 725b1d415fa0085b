"""The fitted scaler's file: a pickle, read without trusting it."""

import io
import pickle
from typing import Any

import numpy as np
from joblib.numpy_pickle import NumpyArrayWrapper, NumpyUnpickler

NOT_NUMBERS = "the pickle holds something else than plain numbers"

# Everything a fitted scaler's pickle may name. Arrays and scalars of numpy, the scalers, and nothing that can act.
ADMITTED = {
    ("joblib.numpy_pickle", "NumpyArrayWrapper"),
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy.core.multiarray", "scalar"),
    ("sklearn.preprocessing._data", "MinMaxScaler"),
    ("sklearn.preprocessing._data", "StandardScaler"),
}


class _AdmittingUnpickler(NumpyUnpickler):  # type: ignore[misc]  # joblib has no type hints
    """joblib's unpickler, for the classes in ADMITTED only, and for plain numbers only.

    State is given to objects alone: given to a class, it would stay there for the whole process. Arrays of anything but
    plain numbers are refused before they are made: they can pass bytes of the file off as addresses, and joblib reads
    them with another unpickler, which does not look here.
    """

    dispatch = NumpyUnpickler.dispatch.copy()

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ADMITTED:
            raise ValueError(f"the pickle asks for {module}.{name}, which no scaler needs")
        if (module, name) == ("numpy", "ndarray"):
            return None  # written beside each array and never called; called, it could make what is refused below
        return _plain_dtype if (module, name) == ("numpy", "dtype") else super().find_class(module, name)

    def load_build(self) -> None:
        target, state = self.stack[-2:]
        if isinstance(target, type):
            raise ValueError("the pickle changes a class")
        if isinstance(target, np.dtype) and state[2:5] != (None, None, None):
            raise ValueError(NOT_NUMBERS)
        if isinstance(target, NumpyArrayWrapper) and not (type(state) is dict and isinstance(state["dtype"], np.dtype)):
            raise ValueError(NOT_NUMBERS)
        super().load_build()

    dispatch[pickle.BUILD[0]] = load_build


def _plain_dtype(*arguments: Any) -> "np.dtype[Any]":
    dtype: np.dtype[Any] = np.dtype(*arguments)
    if dtype.kind not in "biuf":
        raise ValueError(NOT_NUMBERS)
    return dtype


def unpickle(content: bytes) -> Any:
    """The scaler in a joblib file, refusing whatever is not a scikit-learn scaler made of numpy arrays."""
    return _AdmittingUnpickler("", io.BytesIO(content), ensure_native_byte_order=False).load()
