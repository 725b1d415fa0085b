"""What the transforms promise: the scale of a price never matters, nothing is lost, and mistakes are named."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, QuantileTransformer, StandardScaler

from app.artifact import store
from app.artifact.manifest import LogReturnTransform, MinMaxPriceTransform
from app.artifact.transform import (
    LARGEST_PRICE,
    LARGEST_STEP,
    MOST_UNUSUAL,
    TYPICAL_VOLATILITY,
    Affine,
    LogReturn,
    MinMaxPrice,
    Scaler,
    Transform,
    build,
)
from tests.strategies import F64, WINDOW, seeds, windows

HORIZON, QUANTILES = 5, 9

modest = settings(max_examples=40, deadline=None)
factors = st.floats(-6, 6).map(lambda power: float(10**power))


def log_return(
    scale: float = 0.8,
    *,
    winsor: float = 8.0,
    floor: float = 1e-6,
    clip: float = 10.0,
    decay: float = 0.94,
    level: bool = False,
) -> LogReturn:
    parameters = LogReturnTransform(winsor=winsor, floor=floor, clip=clip, decay=decay, level=level)
    return LogReturn(parameters, Affine(scale, 0.0))


def minmax_price(low: float = 50.0, high: float = 250.0) -> MinMaxPrice:
    return MinMaxPrice(MinMaxPriceTransform(), Affine(1 / (high - low), -low / (high - low)))


def minmax_price_of(prices: F64) -> MinMaxPrice:
    """The transform whose scaler was fitted on these very prices."""
    return MinMaxPrice(MinMaxPriceTransform(), Affine.of(MinMaxScaler().fit(prices.reshape(-1, 1))))


def arbitrary_outputs(seed: int, rows: int) -> F64:
    """(B, H, Q) of what a network might say."""
    return np.random.default_rng(seed).normal(0.0, 2.0, (rows, HORIZON, QUANTILES))


def window_of(*returns: float) -> F64:
    """(1, W) prices with these log returns."""
    prices: F64 = 100 * np.exp(np.cumsum([[0.0, *returns]], axis=1))
    return prices


BOTH = pytest.mark.parametrize(
    "transform",
    [log_return(), log_return(level=True), minmax_price()],
    ids=["log_return", "log_return with level", "minmax_price"],
)
LEVEL = pytest.mark.parametrize("level", [False, True], ids=["without level", "with level"])


# There and back


@modest
@given(windows(), factors, seeds)
def test_log_return_scales_with_the_price(prices: F64, factor: float, seed: int) -> None:
    transform = log_return()
    outputs = arbitrary_outputs(seed, len(prices))
    forecast = transform.decode(outputs, transform.encode(prices))
    scaled = transform.decode(outputs, transform.encode(factor * prices))
    np.testing.assert_allclose(scaled, factor * forecast, rtol=1e-9)


@LEVEL
@modest
@given(prices=windows(), factor=factors)
def test_log_return_shows_the_network_the_same_at_every_scale(level: bool, prices: F64, factor: float) -> None:
    transform = log_return(level=level)
    inputs, scaled = transform.encode(prices).inputs, transform.encode(factor * prices).inputs
    np.testing.assert_allclose(scaled, inputs, rtol=1e-6, atol=1e-6)


@modest
@given(windows(window=WINDOW + HORIZON))
def test_decoding_the_targets_gives_the_prices_back_for_log_return(prices: F64) -> None:
    past, future = prices[:, :WINDOW], prices[:, WINDOW:]
    transform = log_return()
    encoded = transform.encode(past)
    again = transform.decode(transform.targets(future, encoded)[:, :, None], encoded)
    np.testing.assert_allclose(again[:, :, 0], future, rtol=1e-9)


@modest
@given(windows(window=WINDOW + HORIZON))
def test_decoding_the_targets_gives_the_prices_back_for_minmax_price(prices: F64) -> None:
    past, future = prices[:, :WINDOW], prices[:, WINDOW:]
    transform = minmax_price_of(prices)
    encoded = transform.encode(past)
    again = transform.decode(transform.targets(future, encoded)[:, :, None], encoded)
    np.testing.assert_allclose(again[:, :, 0], future, rtol=1e-9, atol=1e-9 * np.ptp(prices))


@modest
@given(windows())
def test_an_output_of_zero_is_the_last_price_for_log_return(prices: F64) -> None:
    transform = log_return()
    decoded = transform.decode(np.zeros((len(prices), HORIZON, 1)), transform.encode(prices))
    np.testing.assert_array_equal(decoded[:, :, 0], np.repeat(prices[:, -1:], HORIZON, axis=1))


@BOTH
@modest
@given(prices=windows())
def test_the_last_price_in_output_units_decodes_to_the_last_price(transform: Transform, prices: F64) -> None:
    encoded = transform.encode(prices)
    decoded = transform.decode(np.broadcast_to(encoded.last, (len(prices), HORIZON, 1)), encoded)
    np.testing.assert_array_equal(encoded.price[:, 0, 0], prices[:, -1])
    np.testing.assert_allclose(decoded[:, :, 0], np.repeat(prices[:, -1:], HORIZON, axis=1), rtol=1e-12, atol=1e-12)


def test_an_output_of_one_is_one_volatility_growing_with_the_root_of_the_horizon() -> None:
    transform = log_return(scale=0.5)
    encoded = transform.encode(window_of(*[0.01, -0.01] * 10))
    decoded = transform.decode(np.full((1, 4, 1), 0.5), encoded)
    np.testing.assert_allclose(np.log(decoded[0, :, 0] / 100), 0.01 * np.sqrt([1, 2, 3, 4]), rtol=1e-9)


@BOTH
@modest
@given(prices=windows(), seed=seeds)
def test_a_batch_is_its_rows_one_by_one(transform: Transform, prices: F64, seed: int) -> None:
    outputs = arbitrary_outputs(seed, len(prices))
    batch = transform.encode(prices)
    decoded = transform.decode(outputs, batch)
    targets = transform.targets(prices[:, :HORIZON], batch)
    for row in range(len(prices)):
        here = slice(row, row + 1)
        alone = transform.encode(prices[here])
        np.testing.assert_array_max_ulp(batch.inputs[here], alone.inputs, maxulp=1)
        np.testing.assert_array_equal(batch.last[here], alone.last)
        np.testing.assert_array_equal(batch.price[here], alone.price)
        np.testing.assert_allclose(batch.volatility[here], alone.volatility, rtol=1e-12)
        np.testing.assert_allclose(decoded[here], transform.decode(outputs[here], alone), rtol=1e-12)
        np.testing.assert_allclose(targets[here], transform.targets(prices[here, :HORIZON], alone), rtol=1e-12)
        np.testing.assert_allclose(
            transform.encode(prices).observed[here], transform.encode(prices[here]).observed, rtol=1e-12
        )


@BOTH
@modest
@given(prices=windows())
def test_what_has_no_faults_is_encoded_to_finite_numbers(transform: Transform, prices: F64) -> None:
    encoded = transform.encode(prices)
    assert transform.invalid_prices(prices) == []
    assert encoded.inputs.shape == (len(prices), *transform.shape(WINDOW))
    assert encoded.inputs.dtype == np.float32
    for part in (encoded.last, encoded.price, encoded.volatility):
        assert part.shape == (len(prices), 1, 1)
        assert np.isfinite(part).all()
    assert np.isfinite(encoded.inputs).all()
    assert encoded.observed.shape == (len(prices), len(transform.quantities), 2)
    assert np.isfinite(encoded.observed).all()
    assert (encoded.observed[:, :, 0] <= encoded.observed[:, :, 1]).all()


# Log returns and their volatility


@pytest.mark.parametrize("price", [1e-30, 1e-6, 1.0, 1e9, 1e30])
def test_a_constant_window_is_no_trouble(price: float) -> None:
    transform = log_return()
    encoded = transform.encode(np.full((1, WINDOW), price))
    assert encoded.volatility.tolist() == [[[1e-6]]]
    assert not encoded.inputs.any()
    forecast = transform.decode(np.full((1, 1, 3), 2.0), encoded)
    np.testing.assert_allclose(forecast, price, rtol=1e-5)


def test_inputs_are_log_returns_over_volatility_through_the_scaler() -> None:
    transform = log_return(scale=0.5)
    inputs = transform.encode(window_of(*[0.02, -0.02] * 20)).inputs
    np.testing.assert_allclose(inputs[0, :, 0], [0.5, -0.5] * 20, rtol=1e-6)


@modest
@given(windows(), st.floats(0.5, 20))
def test_inputs_lie_within_the_clip(prices: F64, clip: float) -> None:
    inputs = log_return(clip=clip).encode(prices).inputs
    assert np.abs(inputs).max() <= np.float32(clip)


@pytest.mark.parametrize("factor", [1e5, 1e-5])
def test_a_jump_out_of_calm_is_clipped(factor: float) -> None:
    prices = np.full((1, WINDOW), 100.0)
    prices[:, -1] *= factor
    inputs = log_return(clip=10.0).encode(prices).inputs[0, :, 0]
    assert inputs[-1] == np.copysign(10.0, np.log(factor))
    assert not inputs[:-1].any()


@modest
@given(windows(), st.floats(-9, -2).map(lambda power: float(10**power)))
def test_volatility_is_never_below_its_floor(prices: F64, floor: float) -> None:
    volatility = log_return(floor=floor).encode(prices).volatility
    assert volatility.min() >= floor


def test_volatility_is_the_weighted_root_mean_square_of_capped_returns() -> None:
    returns = [0.01, -0.5, 0.02, -0.03]
    cap = 1.5 * (0.01 + 0.5 + 0.02 + 0.03) / 4  # 0.21: the second return counts for this
    weighted = 0.125 * 0.01**2 + 0.25 * cap**2 + 0.5 * 0.02**2 + 1.0 * 0.03**2
    expected = np.sqrt(weighted / (0.125 + 0.25 + 0.5 + 1.0))
    transform = log_return(winsor=1.5, decay=0.5)
    prices = window_of(*returns)
    np.testing.assert_allclose(transform.encode(prices).volatility[0, 0], expected, rtol=1e-9)
    observed = transform.encode(prices).observed  # (1, R, 2)
    np.testing.assert_allclose(observed, [[[expected] * 2, [-0.03 / expected] * 2]], rtol=1e-9)


@pytest.mark.parametrize("steps_ago", [0, 1, 5, 20, 40])
def test_a_split_does_not_blind_the_forecast(steps_ago: int) -> None:
    """After a 2:1 split amid steps of 1%, the volatility rises by a third or less of what it would unwinsorised."""
    quiet = np.tile([0.01, -0.01], 30)[1:]
    split = quiet.copy()
    split[-1 - steps_ago] = np.log(0.5)

    def rise(winsor: float) -> float:
        transform = log_return(winsor=winsor)
        before, after = transform.encode(np.concatenate([window_of(*quiet), window_of(*split)])).volatility[:, 0, 0]
        np.testing.assert_allclose(before, 0.01, rtol=1e-9)
        return float(after / before) - 1

    assert rise(winsor=8.0) < 3.5
    assert rise(winsor=8.0) < rise(winsor=1e9) / 3
    if steps_ago == 0:
        assert rise(winsor=1e9) > 15


@modest
@given(windows(rows=1, zigzag=False), st.integers(1, WINDOW - 1), st.floats(-5, 5))
def test_no_single_step_counts_for_more_than_the_winsor_allows(prices: F64, place: int, power: float) -> None:
    prices[:, place:] *= np.exp(power)
    returns = np.abs(np.diff(np.log(prices)))
    volatility = log_return().encode(prices).volatility
    assert volatility[0, 0, 0] <= max(1e-6, min(returns.max(), 8 * returns.mean())) * (1 + 1e-9)


def test_the_level_is_a_second_feature_the_same_in_all_steps() -> None:
    prices = np.concatenate([window_of(*[size, -size] * 10) for size in (0.01, 0.0001, 0.2)])
    inputs = log_return(scale=0.5, level=True).encode(prices).inputs  # (3, 20, 2)
    np.testing.assert_array_equal(inputs[:, :, 0], log_return(scale=0.5).encode(prices).inputs[:, :, 0])
    levels = [0.0, 0.5 * np.log(0.01), 0.5 * np.log(20)]  # of a day of a stock, and below and above it
    np.testing.assert_allclose(inputs[:, :, 1], np.repeat(np.array(levels)[:, None], 20, axis=1), atol=1e-6)


@modest
@given(prices=windows())
def test_the_level_is_bounded_and_knows_nothing_but_the_volatility(prices: F64) -> None:
    encoded = log_return(level=True).encode(prices)
    levels = encoded.inputs[:, :, 1]  # (B, T)
    assert (levels == levels[:, :1]).all()
    assert np.abs(levels).max() <= MOST_UNUSUAL
    bounded = (0.5 * np.log(encoded.volatility[:, 0] / TYPICAL_VOLATILITY)).clip(-MOST_UNUSUAL, MOST_UNUSUAL)
    np.testing.assert_allclose(levels[:, :1], bounded, rtol=1e-6, atol=1e-6)


@modest
@given(prices=windows(), seed=seeds)
def test_the_level_changes_neither_forecasts_nor_targets(prices: F64, seed: int) -> None:
    outputs = arbitrary_outputs(seed, len(prices))
    plain, told = log_return(), log_return(level=True)
    one, other = plain.encode(prices), told.encode(prices)
    np.testing.assert_array_equal(plain.decode(outputs, one), told.decode(outputs, other))
    futures = prices[:, :HORIZON]
    np.testing.assert_array_equal(plain.targets(futures, one), told.targets(futures, other))


def test_log_return_refuses_a_scaler_that_centres() -> None:
    scaler = StandardScaler().fit([[1.0], [2.0], [4.0]])
    with pytest.raises(ValueError, match="does not centre"):
        build(LogReturnTransform(), Affine.of(scaler))


def test_rounding_in_the_offset_is_not_centring() -> None:
    assert LogReturn(LogReturnTransform(), Affine(1.0, 1e-13)).affine.offset == 1e-13


# Price levels


def test_minmax_price_shows_the_network_scaled_prices() -> None:
    transform = minmax_price(low=50, high=250)
    prices = np.array([[50.0, 100.0, 250.0], [0.0, -50.0, 300.0]])
    encoded = transform.encode(prices)
    np.testing.assert_allclose(encoded.inputs[:, :, 0], [[0, 0.25, 1], [-0.25, -0.5, 1.25]], atol=1e-7)
    np.testing.assert_allclose(encoded.last[:, 0, 0], [1, 1.25])
    assert encoded.volatility.tolist() == [[[1.0]], [[1.0]]]
    assert transform.encode(prices).observed.tolist() == [[[50, 250]], [[-50, 300]]]


def test_the_shipped_tutorial_scales_its_training_range_to_zero_and_one(shipped: Path) -> None:
    artifact = store.read_version(shipped, "tutorial", store.current(shipped, "tutorial"))
    (trained,) = artifact.manifest.training_ranges
    transform = artifact.transform
    assert transform.kind == "minmax_price"
    assert (trained.quantity,) == transform.quantities == ("price",)
    inputs = transform.encode(np.array([np.linspace(trained.low, trained.high, WINDOW)])).inputs
    np.testing.assert_allclose(inputs[0, [0, -1], 0], [0, 1], atol=1e-6)


# Faults


def with_price(index: int, price: float) -> F64:
    prices = np.full((1, 6), 100.0)
    prices[:, index] = price
    return prices


@pytest.mark.parametrize("index", [0, 3, 5])
@pytest.mark.parametrize("price", [0.0, -1.0, -1e31, 1.01e30, 0.99e-30, np.inf, -np.inf, np.nan])
def test_log_return_names_a_price_that_it_cannot_take(price: float, index: int) -> None:
    reason = "a price must be positive for this model (from 1e-30 to 1e+30)"
    assert log_return().invalid_prices(with_price(index, price)) == [(0, index, reason)]


@pytest.mark.parametrize("index", [0, 3, 5])
@pytest.mark.parametrize("price", [1.01e30, -1.01e30, np.inf, -np.inf, np.nan])
def test_minmax_price_names_a_price_that_it_cannot_take(price: float, index: int) -> None:
    reason = "a price must lie within ±1e+30"
    assert minmax_price().invalid_prices(with_price(index, price)) == [(0, index, reason)]


@pytest.mark.parametrize("price", [0.0, -1.0, LARGEST_PRICE, -LARGEST_PRICE])
def test_minmax_price_takes_any_other_price(price: float) -> None:
    assert minmax_price().invalid_prices(with_price(2, price)) == []


@pytest.mark.parametrize("price", [LARGEST_PRICE, 1 / LARGEST_PRICE])
def test_the_bounds_themselves_are_taken(price: float) -> None:
    assert log_return().invalid_prices(np.full((1, WINDOW), price)) == []


@pytest.mark.parametrize("factor", [1.01 * LARGEST_STEP, 0.99 / LARGEST_STEP])
@pytest.mark.parametrize("index", [1, 3, 5])
def test_a_step_that_is_too_large_is_named_at_the_later_price(factor: float, index: int) -> None:
    prices = np.full((1, 6), 100.0)
    prices[:, index:] *= factor
    reason = "the price changes by more than a factor of 1e+06 in one step"
    assert log_return().invalid_prices(prices) == [(0, index, reason)]


@pytest.mark.parametrize("factor", [LARGEST_STEP, 1 / LARGEST_STEP])
def test_the_largest_step_itself_is_taken(factor: float) -> None:
    assert log_return().invalid_prices(np.array([[1.0, 1.0, factor, factor]])) == []


def test_only_the_first_fault_of_a_row_is_named() -> None:
    transform = log_return()
    assert [fault[:2] for fault in transform.invalid_prices(np.array([[1.0, 0.0, -1.0, 2.0, np.nan]]))] == [(0, 1)]
    assert [fault[:2] for fault in transform.invalid_prices(np.array([[1.0, 1.0, 1e7, 1.0, 1e9]]))] == [(0, 2)]
    assert [fault[:2] for fault in minmax_price().invalid_prices(np.array([[1.0, 1e31, 1e32]]))] == [(0, 1)]


def test_a_bad_price_is_named_and_not_the_step_to_it() -> None:
    (fault,) = log_return().invalid_prices(np.array([[1.0, 1e7, 1.0, 0.0, 1.0]]))
    assert fault[1] == 3
    assert "must be positive" in fault[2]


def test_every_bad_row_is_named_and_no_good_one() -> None:
    prices = np.full((5, 6), 100.0)
    prices[1, 4] = 0.0
    prices[2, 2:] = 1e10
    prices[4, 0] = -3.0
    assert sorted(fault[:2] for fault in log_return().invalid_prices(prices)) == [(1, 4), (2, 2), (4, 0)]
    prices[3, 5] = 1e31
    assert [fault[:2] for fault in minmax_price().invalid_prices(prices)] == [(3, 5)]


@modest
@given(windows(), st.integers(0, 3), st.integers(0, WINDOW - 1), st.sampled_from([0.0, -2.5, 1e31]))
def test_one_bad_price_anywhere_is_the_one_named(prices: F64, row: int, index: int, price: float) -> None:
    row %= len(prices)
    prices[row, index] = price
    assert [fault[:2] for fault in log_return().invalid_prices(prices)] == [(row, index)]


# The affine map


@dataclass(frozen=True)
class FakeScaler:
    """Says of any x whatever `scale`, `offset` and `bend` make of it."""

    scale: float
    offset: float = 0.0
    bend: float = 0.0

    def transform(self, X: F64) -> F64:  # noqa: N803 — scikit-learn's own name for the argument
        return self.scale * X + self.offset + self.bend * X**2


SCALERS = {
    "MinMaxScaler": MinMaxScaler(),
    "MinMaxScaler to another range": MinMaxScaler(feature_range=(-1, 3)),
    "StandardScaler": StandardScaler(),
    "StandardScaler without centring": StandardScaler(with_mean=False),
    "MaxAbsScaler": MaxAbsScaler(),
}


@pytest.mark.parametrize("name", SCALERS)
@modest
@given(prices=windows(zigzag=False).filter(lambda prices: bool(prices.max() < 1e6)))
def test_the_affine_map_is_the_scaler(name: str, prices: F64) -> None:
    sample = prices.reshape(-1, 1)
    scaler = SCALERS[name].fit(sample)
    affine = Affine.of(scaler)
    scaled = scaler.transform(sample)
    rounding = 1e-9 * (1 + abs(affine.offset))  # a tight sample far from zero: two large terms nearly cancel
    np.testing.assert_allclose(affine(sample), scaled, rtol=1e-9, atol=rounding)
    np.testing.assert_allclose(affine.inverse(scaled), sample, rtol=1e-9, atol=rounding / affine.scale)


@pytest.mark.parametrize("scale", [1e6, 1e9, 1e12, 1e15, 1e18])
def test_the_affine_map_is_the_scaler_for_large_prices_too(scale: float) -> None:
    sample = scale * np.linspace(1.0, 3.0, 50)[:, None]
    scaler = MinMaxScaler().fit(sample)
    np.testing.assert_allclose(Affine.of(scaler)(sample), scaler.transform(sample), rtol=0, atol=1e-9)


@pytest.mark.parametrize(("lowest", "highest"), [(1e4, 1e5), (9_999.9, 69_000.0), (1e4, 1.1e4), (-3.25, 1e3)])
def test_a_scaler_that_makes_a_probed_price_zero_is_affine_all_the_same(lowest: float, highest: float) -> None:
    sample = np.linspace(lowest, highest, 50)[:, None]
    scaler = MinMaxScaler().fit(sample)
    np.testing.assert_allclose(Affine.of(scaler)(sample), scaler.transform(sample), rtol=0, atol=1e-9)


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
def test_what_is_not_a_fitted_affine_scaler_of_one_feature_is_refused(scaler: Scaler, reason: str) -> None:
    with (
        np.errstate(invalid="ignore"),  # ∞ · 0, on purpose
        pytest.raises(ValueError, match=reason),
    ):
        Affine.of(scaler)


@pytest.mark.parametrize("scale", [np.inf, -1.0, np.nan])
def test_a_fitted_scaler_with_an_unusable_scale_is_refused(scale: float) -> None:
    scaler = StandardScaler(with_mean=False).fit([[0.0], [1.0]])
    scaler.scale_ = np.array([scale])
    with pytest.raises(ValueError, match="finite and positive"):
        Affine.of(scaler)


@given(st.floats(0.01, 100), st.floats(-10, 10), st.floats(-1e6, 1e6))
@modest
def test_the_affine_map_can_be_inverted(scale: float, offset: float, x: float) -> None:
    affine = Affine(scale, offset)
    np.testing.assert_allclose(affine.inverse(affine(np.array([x]))), x, rtol=1e-9, atol=1e-9)


# What the scaler is fitted on


def samples(rows: int, window: int, horizon: int = 1) -> tuple[F64, F64]:
    """(N, W) windows and (N, H) futures of one walk."""
    prices = 100 * np.exp(np.random.default_rng(rows).normal(0, 0.02, rows + window + horizon - 1).cumsum())
    both = np.lib.stride_tricks.sliding_window_view(prices, window + horizon)
    return both[:, :window], both[:, window:]


def test_the_scaler_of_prices_is_fitted_on_every_price_there_is() -> None:
    windows, futures = np.array([[3.0, 1.0, 4.0], [1.0, 4.0, 1.0]]), np.array([[1.0], [5.0]])
    sample = minmax_price().scaler_sample(windows, futures)
    assert sample.shape == (8, 1)
    assert set(sample[:, 0].tolist()) == {1.0, 3.0, 4.0, 5.0}


@LEVEL
@pytest.mark.parametrize(("rows", "window"), [(1, WINDOW), (41, WINDOW), (7, 4)])
def test_the_scaler_of_log_returns_is_fitted_on_what_every_window_would_show(
    rows: int, window: int, level: bool
) -> None:
    windows, futures = samples(rows, window)
    unscaled = log_return(scale=1.0, clip=1e9, level=level)
    sample = unscaled.scaler_sample(windows, futures)
    assert sample.shape == (rows * (window - 1), 1)
    shown = unscaled.encode(windows).inputs[:, :, 0]
    np.testing.assert_allclose(sample.reshape(rows, window - 1), shown, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("scale", [0.1, 1.0, 25.0])
def test_the_sample_does_not_depend_on_the_scaler_that_it_is_for(scale: float) -> None:
    both = samples(20, WINDOW, HORIZON)
    np.testing.assert_array_equal(log_return(scale).scaler_sample(*both), log_return(1.0).scaler_sample(*both))
    np.testing.assert_array_equal(minmax_price(0, scale).scaler_sample(*both), minmax_price().scaler_sample(*both))


# Building


def test_the_parameters_decide_which_transform_is_built() -> None:
    affine = Affine(2.0, 0.0)
    of_returns = build(LogReturnTransform(clip=3.0), affine)
    of_prices = build(MinMaxPriceTransform(), affine)
    assert of_returns == LogReturn(LogReturnTransform(clip=3.0), affine)
    assert of_prices == MinMaxPrice(MinMaxPriceTransform(), affine)
    assert (of_returns.kind, of_returns.quantities) == ("log_return", ("volatility", "last step"))
    assert (of_prices.kind, of_prices.quantities) == ("minmax_price", ("price",))


def test_the_shape_is_what_the_network_gets_of_a_window() -> None:
    assert log_return().shape(60) == (59, 1)
    assert log_return(level=True).shape(60) == (59, 2)
    assert minmax_price().shape(60) == (60, 1)
