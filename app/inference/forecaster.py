"""A forecaster: one artifact version, loaded and proven, that turns windows of prices into quantiles of prices."""

import struct
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from app.artifact.manifest import Calibration, Golden, Range
from app.artifact.store import MANIFEST, Artifact
from app.artifact.transform import F32, F64, Encoded, Transform
from app.errors import ArtifactError, EngineFailed
from app.inference.engines.base import Engine
from app.inference.input_checks import ForecastWarning, InputChecks

EngineName = Literal["onnx", "keras"]

GOLDEN_TOLERANCE = 1e-5  # relative; what two engines may differ by in float32


class Answer(NamedTuple):
    """What one window gets."""

    quantiles: F64  # (H, Q) prices, rising along the last axis
    warnings: Sequence[ForecastWarning]


class Batch(NamedTuple):
    """B windows on their way through the network."""

    encoded: Encoded
    warnings: Sequence[Sequence[ForecastWarning]]


def pack(window: Sequence[float]) -> bytes:
    """A window as bytes: cheap to compare, to keep, and to join to a batch."""
    return struct.pack(f"{len(window)}d", *window)


class Forecaster:
    """Windows → transform → engine → calibrated quantiles → prices. Holds no state between calls."""

    def __init__(
        self,
        transform: Transform,
        engine: Engine,
        calibration: Calibration,
        quantiles: Sequence[float],
        training_ranges: Sequence[Range],
    ) -> None:
        """
        Args:
            quantiles: the Q probabilities of the network's outputs, rising, the median among them.
        """
        self._transform = transform
        self._input_checks = InputChecks(training_ranges)
        self._center = calibration.center
        self._median = list(quantiles).index(0.5)
        self._offsets = _signed(np.asarray(calibration.offsets, dtype=np.float64))  # (H, Q)
        self.engine = engine

    def forecast(self, windows: F64) -> F64:
        """(B, W) prices, oldest first, to (B, H, Q) prices, rising along the last axis.

        Raises:
            EngineFailed: the network answered something that is not a number.
        """
        encoded = self._transform.encode(windows)
        return self._prices(encoded, self.engine.run(encoded.inputs))

    def answers(self, packed: Sequence[bytes]) -> list[Answer]:
        """Forecast and warnings for each of B packed windows: `prepare`, `compute` and `read` in one.

        Raises:
            EngineFailed: as `forecast`.
        """
        batch = self.prepare(packed)
        return self.read(batch, self.compute(batch))

    def prepare(self, packed: Sequence[bytes]) -> Batch:
        """What the network needs of B packed windows, and all that can be said without it."""
        windows = np.frombuffer(b"".join(packed)).reshape(len(packed), -1)
        encoded = self._transform.encode(windows)
        return Batch(encoded, self._input_checks.warnings(windows, encoded.observed))

    def compute(self, batch: Batch) -> F32:
        """The network's outputs: by far the most of the work, and all that lets go of the interpreter for long."""
        return self.engine.run(batch.encoded.inputs)

    def read(self, batch: Batch, outputs: F32) -> list[Answer]:
        """The answers that the outputs stand for.

        Raises:
            EngineFailed: as `forecast`.
        """
        return list(map(Answer, self._prices(batch.encoded, outputs), batch.warnings))

    def first_invalid_price(self, window: Sequence[float]) -> tuple[int, str] | None:
        """(index in the window, reason) of the first price that this model cannot take, if there is one."""
        if self._transform.accepts_range(min(window), max(window)):
            return None
        return next(((index, reason) for _, index, reason in self._transform.invalid_prices(np.array([window]))), None)

    def invalid_prices(self, windows: F64) -> list[tuple[int, int, str]]:
        """(row, index in the window, reason) of the first price of each row (B, W) that this model cannot take."""
        with np.errstate(invalid="ignore"):  # a signalling NaN, which whoever sends bytes may send
            if self._transform.accepts_range(float(windows.min()), float(windows.max())):
                return []
            return sorted(self._transform.invalid_prices(windows))

    def _prices(self, encoded: Encoded, network: F32) -> F64:
        outputs = network.reshape(-1, *self._offsets.shape).astype(np.float64)
        outputs += self._offsets  # none at the median
        if self._center == "last_price":  # which becomes the last price, and stays it however far an offset reaches
            outputs += encoded.last - outputs[:, :, self._median, None]
            np.minimum(outputs[:, :, : self._median], encoded.last, out=outputs[:, :, : self._median])
            np.maximum(outputs[:, :, self._median :], encoded.last, out=outputs[:, :, self._median :])
        outputs.sort(axis=2)  # rearranged, so that no two quantiles cross (Chernozhukov et al., 2010)
        prices = self._transform.decode(outputs, encoded)
        below, above = prices[:, :, : self._median], prices[:, :, self._median + 1 :]
        np.minimum.accumulate(below, axis=1, out=below)  # an interval reaches at least as far as the one a step before
        np.maximum.accumulate(above, axis=1, out=above)
        if not np.isfinite(prices).all():
            raise EngineFailed("the network answered with something that is not a number")
        return prices


def load(artifact: Artifact, engine: EngineName) -> Forecaster:
    """Starts the engine, and has the artifact's golden forecasts computed once more (which also warms it).

    Raises:
        ArtifactError: the network cannot be loaded, has another shape than the manifest says, or forecasts otherwise
            than when it was published.
    """
    manifest = artifact.manifest
    file = artifact.path / ("model.onnx" if engine == "onnx" else "model.keras")
    try:
        started = _start(artifact, engine)
        shape = started.steps_and_features
    except Exception as error:  # whatever a model file can do to its reader
        reason = str(error).replace(str(file), file.name)  # where it lies is nobody's business but the log's
        raise ArtifactError(file, f"the network cannot be loaded: {reason}") from error
    steps, features = artifact.transform.shape(manifest.window)
    if shape != (steps, features):
        raise ArtifactError(
            file,
            f"the network takes {shape[0]} steps of {shape[1]}; "
            f"a window of {manifest.window} gives {steps} of {features}",
        )
    ranges = tuple(each.quantity for each in manifest.training_ranges)
    if ranges != artifact.transform.quantities:
        raise ArtifactError(
            artifact.path / MANIFEST,
            f"training_ranges must be of {', '.join(artifact.transform.quantities)}, not of {', '.join(ranges)}",
        )
    forecaster = Forecaster(
        artifact.transform, started, manifest.calibration, manifest.quantiles, manifest.training_ranges
    )
    try:
        verify_golden(forecaster, manifest.golden)
    except Exception as error:
        raise ArtifactError(file, f"the golden forecasts are not met: {error}") from error
    return forecaster


def verify_golden(forecaster: Forecaster, golden: Golden) -> None:
    """Raises ValueError unless the forecaster says what was published, within GOLDEN_TOLERANCE."""
    published = np.asarray(golden.forecasts)  # (G, H, Q)
    computed = forecaster.forecast(np.asarray(golden.windows))
    difference = float(np.max(np.abs(computed - published) / np.maximum(np.abs(published), 1e-30)))
    if not difference <= GOLDEN_TOLERANCE:
        raise ValueError(f"they differ by {difference:.2g}, more than {GOLDEN_TOLERANCE:g}")


def _start(artifact: Artifact, engine: EngineName) -> Engine:
    if engine == "onnx":
        from app.inference.engines.onnx import OnnxEngine

        return OnnxEngine(artifact.onnx)
    from app.inference.engines.keras import KerasEngine  # only here: Keras takes seconds and hundreds of megabytes

    return KerasEngine(artifact.keras)


def _signed(offsets: F64) -> F64:
    """(H, L) offsets per level, rising levels, to (H, Q): down below the median, up above it."""
    return np.concatenate([-offsets[:, ::-1], np.zeros((len(offsets), 1)), offsets], axis=1)
