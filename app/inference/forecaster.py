"""A forecaster: one loaded artifact version, which turns windows of prices into calibrated quantiles of prices.

Shapes: B windows of W prices, H horizons, Q quantiles.
"""

import struct
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from app.artifact.arrays import F32, F64
from app.artifact.manifest import Calibration, GoldenForecasts, TrainingRange
from app.artifact.store import MANIFEST, Artifact
from app.artifact.transform import EncodedWindows, Transform
from app.errors import ArtifactError, EngineFailed
from app.inference.calibration import QuantileCalibrator
from app.inference.engines.base import Engine
from app.inference.input_checks import ForecastWarning, InputChecks

EngineName = Literal["onnx", "keras"]

GOLDEN_TOLERANCE = 1e-5  # relative; two engines may differ by this much in float32


class WindowForecast(NamedTuple):
    """The forecast for one window."""

    quantiles: F64  # (H, Q) prices, in increasing order along the last axis
    warnings: Sequence[ForecastWarning]


class PreprocessedBatch(NamedTuple):
    """B windows between `Forecaster.preprocess` and `Forecaster.postprocess`."""

    encoded: EncodedWindows
    warnings: Sequence[Sequence[ForecastWarning]]


def pack_window(window: Sequence[float]) -> bytes:
    """Pack prices as native float64. Bytes are cheap to hash, to keep in a queue and to join into a batch."""
    return struct.pack(f"{len(window)}d", *window)


class Forecaster:
    """Runs windows through transform, engine and calibration. Holds no state between calls.

    `forecast_packed` is `preprocess`, `infer` and `postprocess` in one call. The three are separate so that only the
    engine call needs a thread.
    """

    def __init__(
        self,
        transform: Transform,
        engine: Engine,
        calibration: Calibration,
        quantiles: Sequence[float],
        training_ranges: Sequence[TrainingRange],
    ) -> None:
        """Combine the parts of a forecaster.

        Args:
            transform: Encodes windows and decodes outputs.
            engine: Executes the network.
            calibration: Corrections to the network's quantiles.
            quantiles: The Q probabilities of the network's outputs, in increasing order, with the median among them.
            training_ranges: The range of each of `transform.quantities` in the training data.
        """
        self._transform = transform
        self._calibrator = QuantileCalibrator(calibration, quantiles)
        self._input_checks = InputChecks(training_ranges)
        self.engine = engine

    def forecast(self, windows: F64) -> F64:
        """Forecast (B, W) prices, oldest first, as (B, H, Q) prices, in increasing order along the last axis.

        Raises:
            EngineFailed: The network returned NaN or infinity.
        """
        encoded = self._transform.encode(windows)
        return self._decode(encoded, self.engine.run(encoded.inputs))

    def forecast_packed(self, packed: Sequence[bytes]) -> list[WindowForecast]:
        """Forecast B packed windows, with their warnings.

        Raises:
            EngineFailed: As `forecast`.
        """
        batch = self.preprocess(packed)
        return self.postprocess(batch, self.infer(batch))

    def preprocess(self, packed: Sequence[bytes]) -> PreprocessedBatch:
        """Encode B packed windows for the network, and check them for warnings."""
        windows = np.frombuffer(b"".join(packed)).reshape(len(packed), -1)
        encoded = self._transform.encode(windows)
        return PreprocessedBatch(encoded, self._input_checks.find_warnings(windows, encoded.observed_ranges))

    def infer(self, batch: PreprocessedBatch) -> F32:
        """Run the network. This is most of the work, and the only part that releases the GIL for long."""
        return self.engine.run(batch.encoded.inputs)

    def postprocess(self, batch: PreprocessedBatch, outputs: F32) -> list[WindowForecast]:
        """Turn (B, H · Q) network outputs into one forecast per window.

        Raises:
            EngineFailed: As `forecast`.
        """
        return list(map(WindowForecast, self._decode(batch.encoded, outputs), batch.warnings))

    def first_invalid_price(self, window: Sequence[float]) -> tuple[int, str] | None:
        """Return (index, reason) of the first price that the transform cannot take; None if all are valid."""
        if self._transform.accepts_range(min(window), max(window)):
            return None
        return next(((index, reason) for _, index, reason in self._transform.invalid_prices(np.array([window]))), None)

    def invalid_prices(self, windows: F64) -> list[tuple[int, int, str]]:
        """Return (row, index, reason) of the first invalid price in each row of (B, W) that has one."""
        with np.errstate(invalid="ignore"):  # binary requests may contain a signaling NaN
            if self._transform.accepts_range(float(windows.min()), float(windows.max())):
                return []
            return sorted(self._transform.invalid_prices(windows))

    def _decode(self, encoded: EncodedWindows, outputs: F32) -> F64:
        """Turn (B, H · Q) network outputs into (B, H, Q) prices."""
        prices = self._transform.decode(self._calibrator.calibrate(outputs, encoded.last_price_output), encoded)
        self._calibrator.widen_with_horizon(prices)
        if not np.isfinite(prices).all():
            raise EngineFailed("the network returned NaN or infinity")
        return prices


def load_forecaster(artifact: Artifact, engine: EngineName) -> Forecaster:
    """Start an engine for the artifact and verify its golden forecasts, which also warms the engine.

    Raises:
        ArtifactError: The network cannot be loaded, its input shape or training ranges do not match the manifest, or
            the golden forecasts are not reproduced.
    """
    manifest = artifact.manifest
    file = artifact.path / ("model.onnx" if engine == "onnx" else "model.keras")
    try:
        started = _start_engine(artifact, engine)
        network_shape = started.steps_and_features
    except Exception as error:  # A malformed model file can make the engine raise anything.
        reason = str(error).replace(str(file), file.name)  # Do not expose file paths to clients.
        raise ArtifactError(file, f"the network cannot be loaded: {reason}") from error
    steps, features = artifact.transform.input_shape(manifest.window)
    if network_shape != (steps, features):
        raise ArtifactError(
            file,
            f"the network takes {network_shape[0]} steps of {network_shape[1]} features; "
            f"a window of {manifest.window} prices is encoded as {steps} steps of {features}",
        )
    quantities = tuple(each.quantity for each in manifest.training_ranges)
    if quantities != artifact.transform.quantities:
        raise ArtifactError(
            artifact.path / MANIFEST,
            f"training_ranges must list {', '.join(artifact.transform.quantities)}, not {', '.join(quantities)}",
        )
    forecaster = Forecaster(
        artifact.transform, started, manifest.calibration, manifest.quantiles, manifest.training_ranges
    )
    try:
        verify_golden(forecaster, manifest.golden)
    except Exception as error:
        raise ArtifactError(file, f"the golden forecasts are not reproduced: {error}") from error
    return forecaster


def verify_golden(forecaster: Forecaster, golden: GoldenForecasts) -> None:
    """Compare the forecasts for the golden windows with those published.

    Raises:
        ValueError: They differ by more than GOLDEN_TOLERANCE.
    """
    published = np.asarray(golden.forecasts)  # (G, H, Q)
    computed = forecaster.forecast(np.asarray(golden.windows))
    difference = float(np.max(np.abs(computed - published) / np.maximum(np.abs(published), 1e-30)))
    if not difference <= GOLDEN_TOLERANCE:
        raise ValueError(f"they differ by {difference:.2g}, more than the tolerance of {GOLDEN_TOLERANCE:g}")


def _start_engine(artifact: Artifact, engine: EngineName) -> Engine:
    if engine == "onnx":
        from app.inference.engines.onnx import OnnxEngine

        return OnnxEngine(artifact.onnx)
    # Import Keras only when it is chosen: it takes seconds and hundreds of megabytes.
    from app.inference.engines.keras import KerasEngine

    return KerasEngine(artifact.keras)
