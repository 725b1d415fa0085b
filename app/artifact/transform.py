"""Prices to network input and back.

Shapes: B windows of W prices, T input steps of F features, H horizons, Q quantiles.
A transform holds an affine map `scaled = scale · x + offset`, read off the fitted scikit-learn scaler once, so that a
request costs a few vectorised lines and never a scikit-learn call.
"""

from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from app.artifact.manifest import LogReturnTransform, MinMaxPriceTransform, Quantity

F64 = npt.NDArray[np.float64]
F32 = npt.NDArray[np.float32]

LARGEST_PRICE = 1e30
TYPICAL_VOLATILITY = 0.01  # of a day of a stock: the level that the network sees as 0
MOST_UNUSUAL = 2.5  # such levels, of volatilities e⁵ times as large or as small, are all the same
LARGEST_STEP = 1e6  # a price this many times its neighbour is a mistake in the data, and would overflow a quantile


class Scaler(Protocol):
    """The part of a scikit-learn scaler that is used here."""

    def transform(self, X: F64) -> F64: ...  # noqa: N803 — scikit-learn's own name for the argument


@dataclass(frozen=True)
class Affine:
    """`scaled = scale · x + offset`."""

    scale: float
    offset: float

    @classmethod
    def of(cls, scaler: Scaler) -> "Affine":
        """Reads scale and offset off a fitted scaler of one feature.

        Raises:
            ValueError: the scaler is not affine, not fitted, or not finite.
        """
        at = np.concatenate([[0.0], 10.0 ** np.arange(-30, 31)])
        scaled = np.asarray(scaler.transform(at[:, None]), dtype=np.float64)[:, 0]
        offset = float(scaled[0])
        # Far enough from zero that the offset does not drown the scale, whether prices are 1e-9 or 1e9.
        far = np.flatnonzero(np.abs(scaled - offset) >= max(1.0, abs(offset)))
        scale = float((scaled[far[0]] - offset) / at[far[0]]) if len(far) else 0.0
        if not (np.isfinite([scale, offset]).all() and scale > 0):
            raise ValueError("the scaler's scale must be finite and positive")
        points = at[far[0]] * np.array([-3.25, 0.1, 0.5, 1.0])
        difference = np.asarray(scaler.transform(points[:, None]))[:, 0] - (scale * points + offset)
        if not np.abs(difference).max() <= 1e-9 * scale * at[far[0]]:
            raise ValueError("the scaler is not affine")
        return cls(scale, offset)

    def __call__(self, x: F64) -> F64:
        return x * self.scale + self.offset

    def inverse(self, scaled: F64) -> F64:
        return (scaled - self.offset) / self.scale


@dataclass(frozen=True, eq=False)
class Encoded:
    """B windows as network input, and what it takes to read the outputs."""

    inputs: F32  # (B, T, F)
    last: F64  # (B, 1, 1) the last price, in output units
    price: F64  # (B, 1, 1) the last price
    volatility: F64  # (B, 1, 1) per step; 1 where the transform knows none
    observed: F64  # (B, R, 2) the least and the greatest of each quantity that has a training range


class Transform(Protocol):
    """Stateless once built; every method works on whole batches."""

    @property
    def kind(self) -> str: ...

    @property
    def quantities(self) -> tuple[Quantity, ...]:
        """What `Encoded.observed` measures, as the manifest's training ranges name it."""

    def shape(self, window: int) -> tuple[int, int]:
        """(T, F) for a window of `window` prices."""

    def accepts_range(self, low: float, high: float) -> bool:
        """Whether no window of prices from `low` to `high` can have a fault: the quick answer to the usual question."""

    def invalid_prices(self, windows: F64) -> list[tuple[int, int, str]]:
        """(row, index in the window, reason) for the first price of each row (B, W) that cannot be taken."""

    def encode(self, windows: F64) -> Encoded:
        """(B, W) prices to network input."""

    def decode(self, outputs: F64, encoded: Encoded) -> F64:
        """(B, H, ·) network outputs to prices."""

    def targets(self, futures: F64, encoded: Encoded) -> F64:
        """(B, H) future prices to what the network should have said: the inverse of `decode`."""

    def scaler_sample(self, windows: F64, futures: F64) -> F64:
        """(M, 1): what the scaler is fitted on, from samples (N, W) and (N, H)."""


@dataclass(frozen=True)
class MinMaxPrice:
    """The tutorial's: price levels through the fitted MinMaxScaler. Knows no scale but its training range."""

    parameters: MinMaxPriceTransform
    affine: Affine
    kind = "minmax_price"
    quantities: ClassVar[tuple[Quantity, ...]] = ("price",)

    def shape(self, window: int) -> tuple[int, int]:
        return window, 1

    def accepts_range(self, low: float, high: float) -> bool:
        return low >= -LARGEST_PRICE and high <= LARGEST_PRICE

    def invalid_prices(self, windows: F64) -> list[tuple[int, int, str]]:
        return _first_in_each_row(
            windows, ~(np.abs(windows) <= LARGEST_PRICE), f"a price must lie within ±{LARGEST_PRICE:g}"
        )

    def encode(self, windows: F64) -> Encoded:
        scaled = self.affine(windows)  # (B, W)
        return Encoded(
            inputs=scaled[:, :, None].astype(np.float32),
            last=scaled[:, -1, None, None],
            price=windows[:, -1, None, None],
            volatility=np.ones((len(windows), 1, 1)),
            observed=np.stack([windows.min(axis=1), windows.max(axis=1)], axis=1)[:, None],
        )

    def decode(self, outputs: F64, encoded: Encoded) -> F64:
        return self.affine.inverse(outputs)

    def targets(self, futures: F64, encoded: Encoded) -> F64:
        return self.affine(futures)

    def scaler_sample(self, windows: F64, futures: F64) -> F64:
        return np.concatenate([windows, futures], axis=1).reshape(-1, 1)


@dataclass(frozen=True)
class LogReturn:
    """Log returns of the window over the window's own volatility, so that the scale of a price never matters.

    The volatility is an exponentially weighted root mean square (RiskMetrics, 1996) of the window's log returns, where
    one return counts for at most `winsor` mean absolute returns: a split or a typing error does not blind the forecast
    for the rest of the window. Network outputs are log returns over h steps, in units of `volatility · √h`, scaled like
    the inputs; an output of zero is the last price.

    With `level`, the logarithm of that volatility is a second feature, the same in all steps: minutes behave otherwise
    than days, and what is unusually wild or calm for either seldom stays so.
    """

    parameters: LogReturnTransform
    affine: Affine
    kind = "log_return"
    quantities: ClassVar[tuple[Quantity, ...]] = ("volatility", "last step")

    def __post_init__(self) -> None:
        if abs(self.affine.offset) > 1e-12:
            raise ValueError("log_return needs a scaler that does not centre, so that an output of 0 is the last price")

    def shape(self, window: int) -> tuple[int, int]:
        return window - 1, 1 + self.parameters.level

    def accepts_range(self, low: float, high: float) -> bool:
        return low >= 1 / LARGEST_PRICE and high <= min(LARGEST_PRICE, LARGEST_STEP * low)

    def invalid_prices(self, windows: F64) -> list[tuple[int, int, str]]:
        bad = ~((windows >= 1 / LARGEST_PRICE) & (windows <= LARGEST_PRICE))
        found = _first_in_each_row(
            windows, bad, f"a price must be positive for this model (from {1 / LARGEST_PRICE:g} to {LARGEST_PRICE:g})"
        )
        jumps = np.zeros_like(bad)
        safe = np.where(bad, 1.0, windows)
        ratio = safe[:, 1:] / safe[:, :-1]
        jumps[:, 1:] = (ratio > LARGEST_STEP) | (ratio < 1 / LARGEST_STEP)
        jumps[bad.any(axis=1)] = False
        return found + _first_in_each_row(
            windows, jumps, f"the price changes by more than a factor of {LARGEST_STEP:g} in one step"
        )

    def encode(self, windows: F64) -> Encoded:
        returns = np.diff(np.log(windows), axis=1)  # (B, W-1)
        volatility = self._volatility(returns)[:, None]  # (B, 1)
        clip = self.parameters.clip
        inputs = np.empty((len(returns), *self.shape(windows.shape[1])), dtype=np.float32)
        standardised = returns / volatility
        last_step = standardised[:, -1:]  # (B, 1)
        inputs[:, :, 0] = self.affine(standardised).clip(-clip, clip)
        if self.parameters.level:
            inputs[:, :, 1] = (0.5 * np.log(volatility / TYPICAL_VOLATILITY)).clip(-MOST_UNUSUAL, MOST_UNUSUAL)
        return Encoded(
            inputs=inputs,
            last=np.zeros((len(windows), 1, 1)),
            price=windows[:, -1, None, None],
            volatility=volatility[:, :, None],
            observed=np.concatenate([volatility, volatility, last_step, last_step], axis=1).reshape(-1, 2, 2),
        )

    def decode(self, outputs: F64, encoded: Encoded) -> F64:
        returns = self.affine.inverse(outputs) * encoded.volatility * _root_horizons(outputs.shape[1])
        return encoded.price * np.exp(returns)

    def targets(self, futures: F64, encoded: Encoded) -> F64:
        unit = encoded.volatility * _root_horizons(futures.shape[1])  # (B, H, 1)
        return self.affine(np.log(futures / encoded.price[:, :, 0]) / unit[:, :, 0])

    def scaler_sample(self, windows: F64, futures: F64) -> F64:
        returns = np.diff(np.log(windows), axis=1)
        standardised: F64 = returns / self._volatility(returns)[:, None]
        return standardised.reshape(-1, 1)

    def _volatility(self, returns: F64) -> F64:
        """(B,) volatility per step of (B, W-1) log returns."""
        size = np.abs(returns)
        cap = self.parameters.winsor * size.mean(axis=1, keepdims=True)
        weights = self.parameters.decay ** np.arange(returns.shape[1] - 1, -1, -1)
        variance = np.minimum(size, cap) ** 2 @ (weights / weights.sum())
        volatility: F64 = np.maximum(np.sqrt(variance), self.parameters.floor)
        return volatility


def build(parameters: LogReturnTransform | MinMaxPriceTransform, affine: Affine) -> Transform:
    """The transform that a manifest's parameters and a fitted scaler describe.

    Raises:
        ValueError: the scaler does not fit the transform.
    """
    if isinstance(parameters, LogReturnTransform):
        return LogReturn(parameters, affine)
    return MinMaxPrice(parameters, affine)


def _root_horizons(horizon: int) -> F64:
    """(H, 1): √h, by which the spread of a random walk grows."""
    roots: F64 = np.sqrt(np.arange(1.0, horizon + 1))
    return roots[:, None]


def _first_in_each_row(windows: F64, bad: npt.NDArray[np.bool_], reason: str) -> list[tuple[int, int, str]]:
    rows = np.flatnonzero(bad.any(axis=1))
    return [(int(row), int(bad[row].argmax()), reason) for row in rows]
