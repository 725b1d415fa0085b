"""Safe loading of the fitted scaler: its file is a pickle, and pickles can run code."""

import io
import pickle
from typing import Any

import numpy as np
from joblib.numpy_pickle import NumpyArrayWrapper, NumpyUnpickler

NOT_PLAIN_NUMBERS = "the pickle contains data that is not plain numbers"

# Every class and function that the pickle of a fitted scaler may name: NumPy arrays and scalars, and two scalers.
ALLOWED_NAMES = {
    ("joblib.numpy_pickle", "NumpyArrayWrapper"),
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy.core.multiarray", "scalar"),
    ("sklearn.preprocessing._data", "MinMaxScaler"),
    ("sklearn.preprocessing._data", "StandardScaler"),
}


class _ScalerUnpickler(NumpyUnpickler):  # type: ignore[misc]  # joblib has no type hints
    """joblib's unpickler, restricted to the classes in ALLOWED_NAMES and to arrays of plain numbers.

    State is set on instances only. State set on a class would persist for the whole process.

    An array of anything but plain numbers is refused before it is created. Its bytes could be read as memory addresses,
    and joblib would load an array of objects with another unpickler, which does not have these restrictions.
    """

    dispatch = NumpyUnpickler.dispatch.copy()

    def find_class(self, module: str, name: str) -> Any:
        """Return an allowed class or function; refuse any other."""
        if (module, name) not in ALLOWED_NAMES:
            raise ValueError(f"the pickle refers to {module}.{name}, which is not allowed in a scaler")
        if (module, name) == ("numpy", "ndarray"):
            # joblib stores this name with each array but does not call it. Calling it could create a refused array.
            return None
        return _plain_dtype if (module, name) == ("numpy", "dtype") else super().find_class(module, name)

    def load_build(self) -> None:
        """Set the state of an instance; refuse the state of a class, and anything other than plain numbers."""
        target, state = self.stack[-2:]
        if isinstance(target, type):
            raise ValueError("the pickle sets attributes of a class")
        if isinstance(target, np.dtype) and state[2:5] != (None, None, None):
            raise ValueError(NOT_PLAIN_NUMBERS)
        if isinstance(target, NumpyArrayWrapper) and not (type(state) is dict and isinstance(state["dtype"], np.dtype)):
            raise ValueError(NOT_PLAIN_NUMBERS)
        super().load_build()

    dispatch[pickle.BUILD[0]] = load_build


def _plain_dtype(*arguments: Any) -> "np.dtype[Any]":
    """Create a dtype, and refuse it unless it is boolean, integer or floating point."""
    dtype: np.dtype[Any] = np.dtype(*arguments)
    if dtype.kind not in "biuf":
        raise ValueError(NOT_PLAIN_NUMBERS)
    return dtype


def unpickle_scaler(content: bytes) -> Any:
    """Load a scaler from the bytes of a joblib file.

    Raises:
        ValueError: The pickle refers to anything but the allowed scalers and NumPy, or holds more than plain numbers.
        Exception: Whatever a malformed pickle makes joblib raise.
    """
    return _ScalerUnpickler("", io.BytesIO(content), ensure_native_byte_order=False).load()
