"""The affine map equals the scikit-learn scaler. Scalers that are not affine are rejected."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, QuantileTransformer, StandardScaler

from app.artifact.affine import Affine, Scaler
from tests.strategies import F64, few_examples, windows


@dataclass(frozen=True)
class FakeScaler:
    """Computes `scale · x + offset + bend · x²`."""

    scale: float
    offset: float = 0.0
    bend: float = 0.0

    def transform(self, X: F64) -> F64:  # noqa: N803 — scikit-learn's own name for the argument
        return self.scale * X + self.offset + self.bend * X**2


SCALERS = {
    "MinMaxScaler": MinMaxScaler(),
    "MinMaxScaler to another range": MinMaxScaler(feature_range=(-1, 3)),
    "StandardScaler": StandardScaler(),
    "StandardScaler without centering": StandardScaler(with_mean=False),
    "MaxAbsScaler": MaxAbsScaler(),
}


@pytest.mark.parametrize("name", SCALERS)
@few_examples
@given(prices=windows(zigzag=False).filter(lambda prices: bool(prices.max() < 1e6)))
def test_affine_equals_scaler_and_its_inverse(name: str, prices: F64) -> None:
    sample = prices.reshape(-1, 1)
    scaler = SCALERS[name].fit(sample)
    affine = Affine.from_scaler(scaler)
    scaled = scaler.transform(sample)
    rounding = 1e-9 * (1 + abs(affine.offset))  # a tight sample far from zero: two large terms nearly cancel
    np.testing.assert_allclose(affine(sample), scaled, rtol=1e-9, atol=rounding)
    np.testing.assert_allclose(affine.inverse(scaled), sample, rtol=1e-9, atol=rounding / affine.scale)


@pytest.mark.parametrize("scale", [1e6, 1e9, 1e12, 1e15, 1e18])
def test_affine_equals_scaler_for_large_prices(scale: float) -> None:
    sample = scale * np.linspace(1.0, 3.0, 50)[:, None]
    scaler = MinMaxScaler().fit(sample)
    np.testing.assert_allclose(Affine.from_scaler(scaler)(sample), scaler.transform(sample), rtol=0, atol=1e-9)


@pytest.mark.parametrize(("lowest", "highest"), [(1e4, 1e5), (9_999.9, 69_000.0), (1e4, 1.1e4), (-3.25, 1e3)])
def test_affine_equals_scaler_that_maps_a_probe_to_zero(lowest: float, highest: float) -> None:
    sample = np.linspace(lowest, highest, 50)[:, None]
    scaler = MinMaxScaler().fit(sample)
    np.testing.assert_allclose(Affine.from_scaler(scaler)(sample), scaler.transform(sample), rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("scaler", "reason"),
    [
        (FakeScaler(0.0), "finite and positive"),
        (FakeScaler(-1.0), "finite and positive"),
        (FakeScaler(np.nan), "finite and positive"),
        (FakeScaler(np.inf), "finite and positive"),
        (FakeScaler(1.0, offset=np.nan), "finite and positive"),
        (FakeScaler(1.0, bend=1e-3), "not affine"),
        (QuantileTransformer(n_quantiles=5).fit([[float(x)] for x in range(5)]), "not affine"),
        (MinMaxScaler(clip=True).fit([[0.0], [2.0]]), "not affine"),
        (StandardScaler(), "not fitted"),
        (MinMaxScaler(), "not fitted"),
        (StandardScaler().fit([[0.0, 1.0], [1.0, 3.0]]), "2 features"),
    ],
    ids=str,
)
def test_affine_unsuitable_scaler_is_rejected(scaler: Scaler, reason: str) -> None:
    with (
        np.errstate(invalid="ignore"),  # some of the scalers compute ∞ · 0
        pytest.raises(ValueError, match=reason),
    ):
        Affine.from_scaler(scaler)


@pytest.mark.parametrize("scale", [np.inf, -1.0, np.nan])
def test_affine_fitted_scaler_with_unusable_scale_is_rejected(scale: float) -> None:
    scaler = StandardScaler(with_mean=False).fit([[0.0], [1.0]])
    scaler.scale_ = np.array([scale])
    with pytest.raises(ValueError, match="finite and positive"):
        Affine.from_scaler(scaler)


@given(st.floats(0.01, 100), st.floats(-10, 10), st.floats(-1e6, 1e6))
@few_examples
def test_affine_inverse_undoes_call(scale: float, offset: float, x: float) -> None:
    affine = Affine(scale, offset)
    np.testing.assert_allclose(affine.inverse(affine(np.array([x]))), x, rtol=1e-9, atol=1e-9)
