"""The reader of the scaler's pickle, on its own; `test_store.py` shows it on whole artifacts."""

import io
import pickle
from typing import Any

import joblib
import numpy as np
import pytest
from sklearn.preprocessing import MinMaxScaler

from app.artifact.scaler import NOT_NUMBERS, unpickle


class DtypeWithFields:
    """A number whose state says that it is a structure."""

    def __reduce__(self) -> tuple[Any, ...]:
        return np.dtype, ("f8", False, True), (3, "<", None, ("a",), {"a": (np.dtype("f8"), 0)}, 8, 1, 0)


def test_a_fitted_scaler_is_the_same_again() -> None:
    written = io.BytesIO()
    scaler = MinMaxScaler().fit([[1.0], [5.0]])
    joblib.dump(scaler, written)
    np.testing.assert_array_equal(unpickle(written.getvalue()).transform([[2.0]]), scaler.transform([[2.0]]))


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
def test_what_is_more_than_plain_numbers_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match=NOT_NUMBERS):
        unpickle(content)
