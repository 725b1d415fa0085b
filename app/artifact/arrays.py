"""Type aliases for NumPy arrays. Shapes are given in comments and docstrings, as in `(B, W)`."""

import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
