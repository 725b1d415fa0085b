"""A fitted scikit-learn scaler, reduced to the affine map that it computes."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from app.artifact.arrays import F64


class Scaler(Protocol):
    """The one method of a scikit-learn scaler that is needed here."""

    def transform(self, X: F64) -> F64:  # noqa: N803 — scikit-learn's own name for the argument
        """Scale (N, 1) values."""


@dataclass(frozen=True)
class Affine:
    """The map `scaled = scale · x + offset`."""

    scale: float
    offset: float

    @classmethod
    def from_scaler(cls, scaler: Scaler) -> "Affine":
        """Derive scale and offset from a fitted scaler of one feature.

        They are measured through `scaler.transform`, not read from attributes, so this works for any affine scaler.

        Raises:
            ValueError: The scaler is not fitted, not affine, or has more than one feature; or its scale is not
                finite and positive.
        """
        probes = np.concatenate([[0.0], 10.0 ** np.arange(-30, 31)])
        scaled = np.asarray(scaler.transform(probes[:, None]), dtype=np.float64)[:, 0]
        offset = float(scaled[0])
        # Measure the scale at the first probe where it is not lost in rounding next to the offset. Prices may be of
        # the order of 1e-9 or of 1e9.
        usable = np.flatnonzero(np.abs(scaled - offset) >= max(1.0, abs(offset)))
        scale = float((scaled[usable[0]] - offset) / probes[usable[0]]) if len(usable) else 0.0
        if not (np.isfinite([scale, offset]).all() and scale > 0):
            raise ValueError("the scaler's scale must be finite and positive")
        points = probes[usable[0]] * np.array([-3.25, 0.1, 0.5, 1.0])
        difference = np.asarray(scaler.transform(points[:, None]))[:, 0] - (scale * points + offset)
        if not np.abs(difference).max() <= 1e-9 * scale * probes[usable[0]]:
            raise ValueError("the scaler is not affine")
        return cls(scale, offset)

    def __call__(self, x: F64) -> F64:
        """Scale an array of any shape."""
        return x * self.scale + self.offset

    def inverse(self, scaled: F64) -> F64:
        """Map scaled values back."""
        return (scaled - self.offset) / self.scale
