"""Applying an artifact's calibration: from the network's raw outputs to ordered, calibrated quantiles.

Shapes: B windows, H horizons, Q quantiles, L = (Q − 1)/2 interval levels.
"""

from collections.abc import Sequence

import numpy as np

from app.artifact.arrays import F32, F64
from app.artifact.manifest import Calibration


class QuantileCalibrator:
    """Calibrates quantiles in output units, and keeps intervals from narrowing once they are prices."""

    def __init__(self, calibration: Calibration, quantiles: Sequence[float]) -> None:
        """Precompute the signed offset of each quantile.

        Args:
            calibration: The artifact's center and conformal offsets.
            quantiles: The Q probabilities of the network's outputs, in increasing order, with the median among them.
        """
        self._centers_on_last_price = calibration.center == "last_price"
        self._median = list(quantiles).index(0.5)
        self._offsets = _signed_offsets(np.asarray(calibration.offsets, dtype=np.float64))  # (H, Q)

    def calibrate(self, outputs: F32, last_price_output: F64) -> F64:
        """Return (B, H, Q) calibrated quantiles in output units, in increasing order along the last axis.

        The offsets are those of conformalized quantile regression (Romano, Patterson & Candès, 2019). Sorting is the
        rearrangement that removes quantile crossing (Chernozhukov, Fernández-Val & Galichon, 2010).

        Args:
            outputs: (B, H · Q) from the network.
            last_price_output: (B, 1, 1) the output that decodes to the last price.
        """
        quantiles = outputs.reshape(-1, *self._offsets.shape).astype(np.float64)
        quantiles += self._offsets  # the median's offset is 0
        if self._centers_on_last_price:
            # Shift each forecast so that its median is the last price. Then clip both sides there, so that the median
            # stays the last price after sorting, even if an offset carries another quantile across it.
            quantiles += last_price_output - quantiles[:, :, self._median, None]
            below, median_and_above = quantiles[:, :, : self._median], quantiles[:, :, self._median :]
            np.minimum(below, last_price_output, out=below)
            np.maximum(median_and_above, last_price_output, out=median_and_above)
        quantiles.sort(axis=2)
        return quantiles

    def widen_with_horizon(self, prices: F64) -> None:
        """Change (B, H, Q) prices in place so that no interval end moves inward from one horizon to the next."""
        below, above = prices[:, :, : self._median], prices[:, :, self._median + 1 :]
        np.minimum.accumulate(below, axis=1, out=below)
        np.maximum.accumulate(above, axis=1, out=above)


def _signed_offsets(offsets: F64) -> F64:
    """Turn (H, L) offsets per level, in increasing order of level, into (H, Q) offsets per quantile.

    They are negative below the median, 0 at the median and positive above it.
    """
    return np.concatenate([-offsets[:, ::-1], np.zeros((len(offsets), 1)), offsets], axis=1)
