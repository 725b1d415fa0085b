"""A forecaster is loaded only if it says what was published, and what it says is calibrated, ordered and finite."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper

from app.artifact import store
from app.artifact.manifest import Calibration, LogReturnTransform, MinMaxPriceTransform, Range
from app.artifact.store import Artifact
from app.artifact.transform import Affine, LogReturn, MinMaxPrice, Transform
from app.errors import ArtifactError, EngineFailed
from app.inference.engines.base import F32
from app.inference.forecaster import GOLDEN_TOLERANCE, Forecaster, load, pack, verify_golden
from app.inference.input_checks import ForecastWarning
from tests.app.artifact.test_store import place, reseal
from tests.strategies import F64, WINDOW, windows

modest = settings(max_examples=40, deadline=None)
factors = st.floats(-6, 6).map(lambda power: float(10**power))


SHIPPED = ["default", "tutorial"]


@pytest.fixture(scope="module")
def artifacts(shipped: Path) -> dict[str, Artifact]:
    return {name: store.read(place(shipped, name)) for name in SHIPPED}


@pytest.fixture(scope="module")
def forecasters(artifacts: dict[str, Artifact]) -> dict[str, Forecaster]:
    return {name: load(artifact, "onnx") for name, artifact in artifacts.items()}


@pytest.fixture(scope="module")
def centred(artifacts: dict[str, Artifact], forecasters: dict[str, Forecaster]) -> dict[str, Forecaster]:
    """The shipped models, their medians moved to the last price if they were elsewhere."""
    found = {}
    for name, artifact in artifacts.items():
        manifest = artifact.manifest
        calibration = manifest.calibration.model_copy(update={"center": "last_price"})
        found[name] = Forecaster(
            artifact.transform, forecasters[name].engine, calibration, manifest.quantiles, manifest.training_ranges
        )
    return found


# Loading


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_model_is_loaded(
    artifacts: dict[str, Artifact], forecasters: dict[str, Forecaster], name: str
) -> None:
    assert forecasters[name].engine.name == "onnx"
    verify_golden(forecasters[name], artifacts[name].manifest.golden)


def refused(path: Path, **changes: object) -> str:
    """The reason why the resealed and perhaps changed artifact in `path` is not loaded."""
    reseal(path, **changes)
    artifact = store.read(path)
    with pytest.raises(ArtifactError) as caught:
        load(artifact, "onnx")
    assert caught.value.path == path / "model.onnx"
    assert str(path) not in caught.value.reason
    return caught.value.reason


def manifest_of(path: Path) -> Any:
    return json.loads((path / store.MANIFEST).read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize("content", [b"", b"garbage", b"\xff" * 100])
def test_a_broken_network_is_refused(models: Path, name: str, content: bytes) -> None:
    path = place(models, name)
    (path / "model.onnx").write_bytes(content)
    assert refused(path).startswith("the network cannot be loaded: ")


def change_weights(path: Path, change: Callable[[F32], F32]) -> None:
    """Puts other floating-point weights into model.onnx."""
    network = onnx.load(path)
    for tensor in network.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            weights = numpy_helper.to_array(tensor)
            tensor.CopyFrom(numpy_helper.from_array(change(weights).astype(np.float32), tensor.name))
    onnx.save(network, path)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_network_of_nothing_but_nan_is_refused(models: Path, name: str) -> None:
    path = place(models, name)
    change_weights(path / "model.onnx", lambda weights: np.full_like(weights, np.nan))
    reason = refused(path)
    assert reason == "the golden forecasts are not met: the network answered with something that is not a number"


def test_a_network_that_has_learnt_something_else_is_refused(models: Path) -> None:
    path = place(models, "tutorial")
    change_weights(path / "model.onnx", lambda weights: weights * np.float32(1.01))
    assert refused(path).startswith("the golden forecasts are not met: they differ by ")


def test_a_network_with_the_same_weights_written_anew_is_loaded(models: Path) -> None:
    path = place(models, "default")
    change_weights(path / "model.onnx", lambda weights: weights)
    reseal(path)
    assert load(store.read(path), "onnx").engine.name == "onnx"


@pytest.mark.parametrize("name", SHIPPED)
def test_a_network_for_another_window_is_refused(models: Path, name: str) -> None:
    path = place(models, name)
    shape = store.read(path).transform.shape
    manifest = manifest_of(path)
    window, golden = manifest["window"], manifest["golden"]
    golden["windows"] = [[prices[0], *prices] for prices in golden["windows"]]
    reason = refused(path, window=window + 1, golden=golden)
    (steps, features), (wanted, _) = shape(window), shape(window + 1)
    assert reason == (
        f"the network takes {steps} steps of {features}; a window of {window + 1} gives {wanted} of {features}"
    )


def test_a_network_of_other_features_is_refused(models: Path) -> None:
    path = place(models, "default")
    transform = manifest_of(path)["transform"]
    features = 1 + transform["level"]
    reason = refused(path, transform=transform | {"level": not transform["level"]})
    assert reason == f"the network takes 59 steps of {features}; a window of 60 gives 59 of {3 - features}"


def test_training_ranges_of_other_quantities_are_refused(models: Path) -> None:
    path = place(models, "default")
    reseal(path, training_ranges=manifest_of(path)["training_ranges"][:1])
    with pytest.raises(ArtifactError) as caught:
        load(store.read(path), "onnx")
    assert caught.value.path == path / store.MANIFEST
    assert caught.value.reason == "training_ranges must be of volatility, last step, not of volatility"


def test_a_network_with_other_outputs_than_the_manifest_says_is_refused(models: Path) -> None:
    path = place(models, "default")
    manifest = manifest_of(path)
    golden = manifest["golden"]
    calibration = manifest["calibration"]
    calibration["offsets"].append(calibration["offsets"][-1])
    golden["forecasts"] = [[*forecast, forecast[-1]] for forecast in golden["forecasts"]]
    reason = refused(path, horizon=manifest["horizon"] + 1, calibration=calibration, golden=golden)
    assert reason.startswith("the golden forecasts are not met: ")


@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize("factor", [1.001, 0.999])
def test_another_golden_forecast_is_refused(models: Path, name: str, factor: float) -> None:
    path = place(models, name)
    golden = manifest_of(path)["golden"]
    golden["forecasts"][-1][-1][-1] *= factor
    assert "they differ by 0.001, more than 1e-05" in refused(path, golden=golden)


def test_another_golden_window_is_refused(models: Path) -> None:
    path = place(models, "tutorial")
    golden = manifest_of(path)["golden"]
    golden["windows"][0][-1] *= 1.2
    assert "they differ by " in refused(path, golden=golden)


def test_a_golden_forecast_may_differ_by_rounding(models: Path) -> None:
    path = place(models, "default")
    golden = manifest_of(path)["golden"]
    golden["forecasts"][0][0][0] *= 1 + GOLDEN_TOLERANCE / 10
    reseal(path, golden=golden)
    assert load(store.read(path), "onnx").engine.name == "onnx"


# Forecasting


@pytest.mark.parametrize("name", SHIPPED)
@modest
@given(prices=windows())
def test_quantiles_never_cross(
    artifacts: dict[str, Artifact], forecasters: dict[str, Forecaster], name: str, prices: F64
) -> None:
    manifest = artifacts[name].manifest
    forecast = forecasters[name].forecast(prices)
    assert forecast.shape == (len(prices), manifest.horizon, len(manifest.quantiles))
    assert forecast.dtype == np.float64
    assert np.isfinite(forecast).all()
    assert (np.diff(forecast, axis=2) >= 0).all()


@modest
@given(prices=windows())
def test_an_interval_reaches_at_least_as_far_as_the_one_a_step_before(
    artifacts: dict[str, Artifact], forecasters: dict[str, Forecaster], prices: F64
) -> None:
    median = artifacts["default"].manifest.quantiles.index(0.5)
    forecast = forecasters["default"].forecast(prices)
    assert (np.diff(forecast[:, :, :median], axis=1) <= 0).all()
    assert (np.diff(forecast[:, :, median + 1 :], axis=1) >= 0).all()


@modest
@given(prices=windows(zigzag=False), factor=factors)
def test_the_default_model_forecasts_in_proportion_to_the_price(
    forecasters: dict[str, Forecaster], prices: F64, factor: float
) -> None:
    default = forecasters["default"]
    np.testing.assert_allclose(default.forecast(factor * prices), factor * default.forecast(prices), rtol=1e-5)


@pytest.mark.parametrize("name", SHIPPED)
@modest
@given(prices=windows(zigzag=False))
def test_a_batch_is_its_rows_one_by_one(forecasters: dict[str, Forecaster], name: str, prices: F64) -> None:
    batch = forecasters[name].forecast(prices)
    one_by_one = [forecasters[name].forecast(prices[row : row + 1]) for row in range(len(prices))]
    np.testing.assert_allclose(np.concatenate(one_by_one), batch, rtol=1e-5)


@modest
@given(prices=windows())
def test_a_model_centred_on_the_last_price_has_it_as_its_median(
    artifacts: dict[str, Artifact], centred: dict[str, Forecaster], prices: F64
) -> None:
    median = artifacts["default"].manifest.quantiles.index(0.5)
    forecast = centred["default"].forecast(prices)[:, :, median]
    np.testing.assert_array_equal(forecast, np.repeat(prices[:, -1:], forecast.shape[1], axis=1))


@modest
@given(prices=windows())
def test_a_model_of_prices_can_be_centred_on_the_last_price_too(
    artifacts: dict[str, Artifact], centred: dict[str, Forecaster], prices: F64
) -> None:
    median = artifacts["tutorial"].manifest.quantiles.index(0.5)
    forecast = centred["tutorial"].forecast(prices)[:, 0, median]
    np.testing.assert_allclose(forecast, prices[:, -1], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("index", "price", "default", "tutorial"),
    [
        (5, -1.0, 5, None),
        (7, 1e31, 7, 7),
        (7, -1e31, 7, 7),
        (0, 0.0, 0, None),
        (30, 1e9, 30, None),
        (9, 1e7, None, None),
    ],
)
def test_a_fault_is_at_the_first_price_that_the_model_cannot_take(
    forecasters: dict[str, Forecaster], index: int, price: float, default: int | None, tutorial: int | None
) -> None:
    prices = [100.0] * WINDOW
    prices[index] = price
    for name, expected in (("default", default), ("tutorial", tutorial)):
        found = forecasters[name].first_invalid_price(prices)
        assert (found and found[0]) == expected


@modest
@given(windows())
def test_what_is_harmless_at_a_glance_has_no_fault_on_a_closer_look(prices: F64) -> None:
    for transform in (OF_PRICES, OF_RETURNS):
        if transform.accepts_range(float(prices.min()), float(prices.max())):
            assert transform.invalid_prices(prices[None] if prices.ndim == 1 else prices) == []


def test_answers_are_those_of_the_forecast_and_pair_with_their_windows(forecasters: dict[str, Forecaster]) -> None:
    for forecaster in forecasters.values():
        prices = np.random.default_rng(3).uniform(300, 310, (5, WINDOW))
        answers = forecaster.answers([pack(row) for row in prices.tolist()])
        np.testing.assert_array_equal([answer.quantiles for answer in answers], forecaster.forecast(prices))


# Calibration, on an engine that says what it is told


@dataclass
class FakeEngine:
    """Answers every row with the same outputs, (H, Q) laid flat."""

    outputs: list[list[float]]
    name: str = "fake"
    concurrent_calls: int = 1
    batch_windows: int = 1
    is_on_device: bool = False
    steps_and_features: tuple[int, int] = (WINDOW - 1, 1)
    seen: list[F32] = field(default_factory=list)

    def run(self, inputs: F32) -> F32:
        self.seen.append(inputs)
        return np.tile(np.asarray(self.outputs, dtype=np.float32).reshape(1, -1), (len(inputs), 1))


EVERYTHING = [Range(quantity="volatility", low=0.0, high=1e9), Range(quantity="last step", low=-1e9, high=1e9)]
OF_RETURNS = LogReturn(LogReturnTransform(), Affine(1.0, 0.0))
OF_PRICES = MinMaxPrice(MinMaxPriceTransform(), Affine(0.01, -1.0))  # 100 to 200 become 0 to 1
RISING = [[-2.0, -1.0, 0.25, 1.0, 2.0], [-3.0, -1.5, 0.5, 1.5, 3.0]]  # (H, Q)
QUANTILES = [0.1, 0.25, 0.5, 0.75, 0.9]
FLAT = [[0.0, 0.0], [0.0, 0.0]]  # (H, L)


def forecaster_of(
    outputs: list[list[float]],
    offsets: list[list[float]],
    center: Literal["network", "last_price"] = "network",
    transform: Transform = OF_RETURNS,
    training_ranges: Sequence[Range] = EVERYTHING,
) -> Forecaster:
    levels = len(offsets[0])
    quantiles = QUANTILES if levels == 2 else [0.25, 0.5, 0.75] if levels == 1 else [0.5]
    calibration = Calibration(center=center, offsets=offsets)
    return Forecaster(transform, FakeEngine(outputs), calibration, quantiles, training_ranges)


PRICES = 100 * np.exp(0.01 * (np.arange(WINDOW)[None, ::-1] % 2))  # (1, W), volatility 1%, the last price 100


def outputs_of(forecaster: Forecaster) -> F64:
    """(H, Q) the forecast in the network's output units."""
    forecast = forecaster.forecast(PRICES)[0]
    returns: F64 = np.log(forecast / PRICES[0, -1]) / (0.01 * np.sqrt(np.arange(1, len(forecast) + 1)))[:, None]
    return returns


def test_without_calibration_the_network_is_taken_at_its_word() -> None:
    np.testing.assert_allclose(outputs_of(forecaster_of(RISING, FLAT)), RISING, rtol=1e-6)


def test_the_engine_is_given_what_the_transform_encodes() -> None:
    engine = FakeEngine(RISING)
    Forecaster(OF_RETURNS, engine, Calibration(center="network", offsets=FLAT), QUANTILES, EVERYTHING).forecast(PRICES)
    (inputs,) = engine.seen
    np.testing.assert_array_equal(inputs, OF_RETURNS.encode(PRICES).inputs)


def test_offsets_widen_the_interval_of_their_level_and_horizon_on_both_sides() -> None:
    offsets = [[0.1, 0.4], [0.2, 0.8]]  # of the inner level, then of the outer one
    moved = outputs_of(forecaster_of(RISING, offsets)) - RISING
    np.testing.assert_allclose(moved, [[-0.4, -0.1, 0, 0.1, 0.4], [-0.8, -0.2, 0, 0.2, 0.8]], atol=1e-6)


def test_negative_offsets_narrow_it() -> None:
    moved = outputs_of(forecaster_of(RISING, [[-0.1, -0.4], [0.0, -0.1]])) - RISING
    np.testing.assert_allclose(moved, [[0.4, 0.1, 0, -0.1, -0.4], [0.1, 0, 0, 0, -0.1]], atol=1e-6)


def test_quantiles_that_cross_are_put_in_order() -> None:
    crossing = [[1.0, 2.0, 0.0, -1.0, -2.0]]
    np.testing.assert_allclose(outputs_of(forecaster_of(crossing, [[0.0, 0.0]])), [[-2, -1, 0, 1, 2]], atol=1e-6)


def test_a_quantile_that_would_come_nearer_again_stays_where_it_was() -> None:
    narrowing = [[-3.0, -1.0, 0.0, 2.0, 4.0], [-0.5, -0.25, 0.5, 0.75, 1.0], [-3.0, -2.0, -1.0, 0.0, 5.0]]
    forecast = outputs_of(forecaster_of(narrowing, [[0.0, 0.0]] * 3)) * np.sqrt([[1], [2], [3]])
    second, third = 2**0.5, 3**0.5
    expected: list[list[float]] = [
        [-3, -1, 0, 2, 4],
        [-3, -1, 0.5 * second, 2, 4],
        [-3 * third, -2 * third, -third, 2, 5 * third],
    ]
    np.testing.assert_allclose(forecast, expected, rtol=1e-6)


def test_centring_moves_the_whole_forecast_and_keeps_its_widths() -> None:
    centred = outputs_of(forecaster_of(RISING, FLAT, center="last_price"))
    np.testing.assert_allclose(centred, np.subtract(RISING, [[0.25], [0.5]]), atol=1e-6)


def test_centring_and_offsets_go_together() -> None:
    centred = outputs_of(forecaster_of([[-1.0, 0.5, 1.0]], [[0.25]], center="last_price"))
    np.testing.assert_allclose(centred, [[-1.75, 0.0, 0.75]], atol=1e-6)


def test_centring_works_in_prices_too() -> None:
    forecaster = forecaster_of([[0.1, 0.3, 0.9]], [[0.05]], center="last_price", transform=OF_PRICES)
    np.testing.assert_allclose(forecaster.forecast(np.full((2, WINDOW), 150.0)), [[[125, 150, 215]]] * 2, rtol=1e-6)


@pytest.mark.parametrize("offset", [-0.03, -0.2, 0.0, 0.5])
@pytest.mark.parametrize("outputs", [[-0.01, 0.0, 0.05], [-0.05, 0.0, 0.01], [0.3, 0.1, 0.2], [0.0, 0.0, 0.0]])
def test_the_last_price_stays_the_median_however_lopsided_and_narrow_the_interval(
    outputs: list[float], offset: float
) -> None:
    forecaster = forecaster_of([outputs], [[offset]], center="last_price")
    assert forecaster.forecast(PRICES)[0, 0, 1] == PRICES[0, -1]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("transform", [OF_RETURNS, OF_PRICES], ids=lambda transform: transform.kind)
def test_an_answer_that_is_not_a_number_fails(bad: float, transform: Transform) -> None:
    forecaster = forecaster_of([[0.0, 0.0, bad]], [[0.0]], transform=transform)
    with pytest.raises(EngineFailed, match="not a number"):
        forecaster.forecast(PRICES)


def test_an_answer_of_minus_infinity_fails_where_prices_may_be_anything() -> None:
    with pytest.raises(EngineFailed, match="not a number"):
        forecaster_of([[-np.inf, 0.0, 0.0]], [[0.0]], transform=OF_PRICES).forecast(PRICES)


# Warnings


def forecaster_for(low: float, high: float, transform: Transform = OF_PRICES) -> Forecaster:
    first = Range(quantity=transform.quantities[0], low=low, high=high)
    ranges = [first, *EVERYTHING[len(EVERYTHING) - len(transform.quantities) + 1 :]]
    return forecaster_of([[0.0]], [[]], transform=transform, training_ranges=ranges)


def window(low: float, high: float) -> F64:
    return np.linspace(low, high, WINDOW)


def warned(forecaster: Forecaster, *rows: F64) -> list[list[ForecastWarning]]:
    return [list(answer.warnings) for answer in forecaster.answers([pack(row.tolist()) for row in rows])]


def test_a_window_inside_the_training_range_gets_no_warning() -> None:
    assert warned(forecaster_for(100, 200), window(100, 200), window(150, 151)) == [[], []]


@pytest.mark.parametrize(
    ("low", "high", "detail"),
    [
        (99.5, 150, "99.5 is below 100, the lowest in the training data"),
        (150, 201.25, "201.25 is above 200, the highest in the training data"),
        (50, 300, "50 is below 100, the lowest and 300 is above 200, the highest in the training data"),
        (1e-9, 150, "1e-09 is below 100, the lowest in the training data"),
        (150, 1234567.8, "1.23457e+06 is above 200, the highest in the training data"),
    ],
)
def test_a_window_outside_the_training_range_gets_one_warning(low: float, high: float, detail: str) -> None:
    (found,) = warned(forecaster_for(100, 200), window(low, high))
    outside = [warning for warning in found if warning.code == "outside_training_range"]
    assert outside == [ForecastWarning("outside_training_range", f"price of the window: {detail}")]


def test_each_window_is_warned_of_by_itself() -> None:
    warnings = warned(forecaster_for(100, 200), window(100, 300), window(100, 200), window(50, 100))
    assert [len(found) for found in warnings] == [1, 0, 1]


@pytest.mark.parametrize(
    ("low", "high", "detail"),
    [
        (0.02, 0.05, ["volatility of the window: 0.01 is below 0.02, the lowest in the training data"]),
        (0.001, 0.005, ["volatility of the window: 0.01 is above 0.005, the highest in the training data"]),
        (0.009, 0.011, []),
    ],
)
def test_a_model_of_returns_warns_of_volatility(low: float, high: float, detail: list[str]) -> None:
    warnings = warned(forecaster_for(low, high, transform=OF_RETURNS), *PRICES)[0]
    assert [warning.detail for warning in warnings] == detail


def test_the_shipped_tutorial_warns_outside_its_training_prices(
    artifacts: dict[str, Artifact], forecasters: dict[str, Forecaster]
) -> None:
    (trained,) = artifacts["tutorial"].manifest.training_ranges
    low, high = trained.low, trained.high
    rows = (window(low, high), window(low / 2, high), window(low, high * 2))
    assert [[warning.code for warning in found] for found in warned(forecasters["tutorial"], *rows)] == [
        [],
        ["outside_training_range"],
        ["outside_training_range"],
    ]
