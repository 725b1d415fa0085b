"""Transforms: prices to network inputs, and network outputs back to prices.

Shapes: B windows of W prices; T input steps of F features; H horizons; Q quantiles; R training ranges.
Both transforms scale through an `Affine` map derived once from the fitted scikit-learn scaler. A request therefore
costs a few vectorized lines and never a scikit-learn call.
"""

from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from app.artifact.affine import Affine
from app.artifact.arrays import F32, F64
from app.artifact.manifest import LogReturnParameters, MinMaxPriceParameters, Quantity

MAX_PRICE = 1e30
MAX_STEP_RATIO = 1e6  # between neighboring prices; a larger step is an error in the data and would overflow a quantile
REFERENCE_VOLATILITY = 0.01  # daily volatility of a typical stock; the network sees it as a feature value of 0
MAX_VOLATILITY_FEATURE = 2.5  # limit of that feature, reached at e⁵ and e⁻⁵ times the reference volatility


@dataclass(frozen=True, eq=False)
class EncodedWindows:
    """B windows as network inputs, with the quantities that `decode` needs to turn outputs into prices."""

    inputs: F32  # (B, T, F)
    last_price: F64  # (B, 1, 1)
    last_price_output: F64  # (B, 1, 1) the network output that decodes to the last price
    volatility: F64  # (B, 1, 1) per step; 1 if the transform does not estimate it
    observed_ranges: F64  # (B, R, 2) lowest and highest value in the window, for each of `Transform.quantities`


class Transform(Protocol):
    """Encodes windows and decodes outputs, in whole batches. Holds no state between calls."""

    @property
    def kind(self) -> str:
        """The discriminator in the manifest, such as `log_return`."""

    @property
    def quantities(self) -> tuple[Quantity, ...]:
        """The R quantities in `EncodedWindows.observed_ranges`, named as in the manifest's training ranges."""

    def input_shape(self, window: int) -> tuple[int, int]:
        """Return (T, F) for windows of `window` prices."""

    def accepts_range(self, low: float, high: float) -> bool:
        """Return whether every window with prices from `low` to `high` is valid.

        This is a cheap sufficient test. If it fails, `invalid_prices` decides.
        """

    def invalid_prices(self, windows: F64) -> list[tuple[int, int, str]]:
        """Return (row, index in the window, reason) for the first invalid price of each row of (B, W)."""

    def encode(self, windows: F64) -> EncodedWindows:
        """Encode (B, W) prices as network inputs."""

    def decode(self, outputs: F64, encoded: EncodedWindows) -> F64:
        """Decode (B, H, ·) network outputs to prices."""

    def encode_targets(self, futures: F64, encoded: EncodedWindows) -> F64:
        """Encode (B, H) future prices as training targets: the inverse of `decode`."""

    def scaler_training_values(self, windows: F64, futures: F64) -> F64:
        """Return the (M, 1) values to fit the scaler on, from (N, W) windows and (N, H) futures."""


@dataclass(frozen=True)
class MinMaxPrice:
    """The tutorial's transform: prices through a fitted MinMaxScaler.

    It does not adapt to the price level, so forecasts outside the training range are extrapolations.
    """

    parameters: MinMaxPriceParameters
    affine: Affine
    kind = "minmax_price"
    quantities: ClassVar[tuple[Quantity, ...]] = ("price",)

    def input_shape(self, window: int) -> tuple[int, int]:
        """Return one step per price, one feature."""
        return window, 1

    def accepts_range(self, low: float, high: float) -> bool:
        """Return whether all prices lie within ±MAX_PRICE."""
        return low >= -MAX_PRICE and high <= MAX_PRICE

    def invalid_prices(self, windows: F64) -> list[tuple[int, int, str]]:
        """Find the first price of each row that is not within ±MAX_PRICE."""
        return _first_in_each_row(~(np.abs(windows) <= MAX_PRICE), f"a price must lie within ±{MAX_PRICE:g}")

    def encode(self, windows: F64) -> EncodedWindows:
        """Scale the prices."""
        scaled = self.affine(windows)  # (B, W)
        return EncodedWindows(
            inputs=scaled[:, :, None].astype(np.float32),
            last_price=windows[:, -1, None, None],
            last_price_output=scaled[:, -1, None, None],
            volatility=np.ones((len(windows), 1, 1)),
            observed_ranges=np.stack([windows.min(axis=1), windows.max(axis=1)], axis=1)[:, None],
        )

    def decode(self, outputs: F64, encoded: EncodedWindows) -> F64:
        """Undo the scaling."""
        return self.affine.inverse(outputs)

    def encode_targets(self, futures: F64, encoded: EncodedWindows) -> F64:
        """Scale the future prices."""
        return self.affine(futures)

    def scaler_training_values(self, windows: F64, futures: F64) -> F64:
        """Return all prices of all samples."""
        return np.concatenate([windows, futures], axis=1).reshape(-1, 1)


@dataclass(frozen=True)
class LogReturn:
    """Log returns in units of the window's own volatility, so that forecasts scale with the price.

    The volatility is an exponentially weighted root mean square of the window's log returns (RiskMetrics, 1996). Each
    return is capped at `winsor` times the mean absolute return, so a split or a typing error does not dominate the
    volatility of the window. A network output is the log return over h steps in units of `volatility · √h`, scaled like
    the inputs. An output of 0 decodes to the last price.

    With `level`, the logarithm of the volatility is a second feature, the same at every step. Minute prices behave
    differently from daily prices, and unusually high or low volatility tends to revert.
    """

    parameters: LogReturnParameters
    affine: Affine
    kind = "log_return"
    quantities: ClassVar[tuple[Quantity, ...]] = ("volatility", "last step")

    def __post_init__(self) -> None:
        if abs(self.affine.offset) > 1e-12:
            raise ValueError("log_return needs a scaler that does not center, so that an output of 0 is the last price")

    def input_shape(self, window: int) -> tuple[int, int]:
        """Return one step per return, and a second feature if `level` is set."""
        return window - 1, 1 + self.parameters.level

    def accepts_range(self, low: float, high: float) -> bool:
        """Return whether the prices are positive and no step between two of them can be too large."""
        return low >= 1 / MAX_PRICE and high <= min(MAX_PRICE, MAX_STEP_RATIO * low)

    def invalid_prices(self, windows: F64) -> list[tuple[int, int, str]]:
        """Find the first price of each row that is out of range; in other rows, the first after too large a step."""
        out_of_range = ~((windows >= 1 / MAX_PRICE) & (windows <= MAX_PRICE))
        found = _first_in_each_row(
            out_of_range, f"a price must be positive for this model (from {1 / MAX_PRICE:g} to {MAX_PRICE:g})"
        )
        safe = np.where(out_of_range, 1.0, windows)
        ratio = safe[:, 1:] / safe[:, :-1]
        is_jump = np.zeros_like(out_of_range)
        is_jump[:, 1:] = (ratio > MAX_STEP_RATIO) | (ratio < 1 / MAX_STEP_RATIO)
        is_jump[out_of_range.any(axis=1)] = False
        return found + _first_in_each_row(
            is_jump, f"the price changes by more than a factor of {MAX_STEP_RATIO:g} in one step"
        )

    def encode(self, windows: F64) -> EncodedWindows:
        """Divide the log returns by the window's volatility, scale and clip them."""
        returns = np.diff(np.log(windows), axis=1)  # (B, W-1)
        volatility = self._volatility(returns)[:, None]  # (B, 1)
        clip = self.parameters.clip
        inputs = np.empty((len(returns), *self.input_shape(windows.shape[1])), dtype=np.float32)
        standardized = returns / volatility
        last_step = standardized[:, -1:]  # (B, 1)
        inputs[:, :, 0] = self.affine(standardized).clip(-clip, clip)
        if self.parameters.level:
            feature = 0.5 * np.log(volatility / REFERENCE_VOLATILITY)
            inputs[:, :, 1] = feature.clip(-MAX_VOLATILITY_FEATURE, MAX_VOLATILITY_FEATURE)
        return EncodedWindows(
            inputs=inputs,
            last_price=windows[:, -1, None, None],
            last_price_output=np.zeros((len(windows), 1, 1)),
            volatility=volatility[:, :, None],
            observed_ranges=np.concatenate([volatility, volatility, last_step, last_step], axis=1).reshape(-1, 2, 2),
        )

    def decode(self, outputs: F64, encoded: EncodedWindows) -> F64:
        """Turn scaled log returns over h steps into prices."""
        returns = self.affine.inverse(outputs) * encoded.volatility * _root_horizons(outputs.shape[1])
        return encoded.last_price * np.exp(returns)

    def encode_targets(self, futures: F64, encoded: EncodedWindows) -> F64:
        """Turn future prices into scaled log returns from the last price."""
        unit = encoded.volatility * _root_horizons(futures.shape[1])  # (B, H, 1)
        return self.affine(np.log(futures / encoded.last_price[:, :, 0]) / unit[:, :, 0])

    def scaler_training_values(self, windows: F64, futures: F64) -> F64:
        """Return the log returns of all windows, each in units of its window's volatility."""
        returns = np.diff(np.log(windows), axis=1)
        standardized: F64 = returns / self._volatility(returns)[:, None]
        return standardized.reshape(-1, 1)

    def _volatility(self, returns: F64) -> F64:
        """Estimate the (B,) volatility per step of (B, W-1) log returns."""
        size = np.abs(returns)
        cap = self.parameters.winsor * size.mean(axis=1, keepdims=True)
        weights = self.parameters.decay ** np.arange(returns.shape[1] - 1, -1, -1)
        variance = np.minimum(size, cap) ** 2 @ (weights / weights.sum())
        volatility: F64 = np.maximum(np.sqrt(variance), self.parameters.floor)
        return volatility


def build_transform(parameters: LogReturnParameters | MinMaxPriceParameters, affine: Affine) -> Transform:
    """Build the transform that a manifest's parameters and a fitted scaler describe.

    Raises:
        ValueError: The scaler does not suit the transform.
    """
    if isinstance(parameters, LogReturnParameters):
        return LogReturn(parameters, affine)
    return MinMaxPrice(parameters, affine)


def _root_horizons(horizon: int) -> F64:
    """Return (H, 1) values of √h: the spread of a random walk grows with the root of the horizon."""
    roots: F64 = np.sqrt(np.arange(1.0, horizon + 1))
    return roots[:, None]


def _first_in_each_row(is_invalid: npt.NDArray[np.bool_], reason: str) -> list[tuple[int, int, str]]:
    """Return (row, column, reason) of the first true value in each row of (B, W) that has one."""
    rows = np.flatnonzero(is_invalid.any(axis=1))
    return [(int(row), int(is_invalid[row].argmax()), reason) for row in rows]
