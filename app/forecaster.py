"""A forecaster: one artifact version, loaded and proven, that turns windows of prices into quantiles of prices."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from app.artifact.manifest import Calibration, Golden, Range
from app.artifact.store import Artifact
from app.artifact.transform import F64, Encoded, Transform
from app.engines.base import Engine
from app.errors import ArtifactError, EngineFailed

EngineName = Literal["onnx", "keras"]

GOLDEN_TOLERANCE = 1e-5  # relative; what two engines may differ by in float32


@dataclass(frozen=True)
class ForecastWarning:
    """Something that makes a forecast less trustworthy than the evidence says; `code` is stable, `detail` is prose."""

    code: str
    detail: str


class Answer(NamedTuple):
    """What one window gets."""

    quantiles: F64  # (H, Q) prices, rising along the last axis
    warnings: Sequence[ForecastWarning]


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
        training_range: Range,
    ) -> None:
        """
        Args:
            quantiles: the Q probabilities of the network's outputs, rising, the median among them.
        """
        self._transform = transform
        self._range = training_range
        self._center = calibration.center
        self._median = list(quantiles).index(0.5)
        self._offsets = _signed(np.asarray(calibration.offsets, dtype=np.float64))  # (H, Q)
        self.engine = engine

    def forecast(self, windows: F64) -> F64:
        """(B, W) prices, oldest first, to (B, H, Q) prices, rising along the last axis.

        Raises:
            EngineFailed: the network answered something that is not a number.
        """
        return self._forecast(self._transform.encode(windows))

    def answers(self, packed: Sequence[bytes]) -> list[Answer]:
        """Forecast and warnings for each of B packed windows.

        Raises:
            EngineFailed: as `forecast`.
        """
        encoded = self._transform.encode(np.frombuffer(b"".join(packed)).reshape(len(packed), -1))
        return list(map(Answer, self._forecast(encoded), self._warnings(encoded.observed)))

    def fault(self, window: Sequence[float]) -> tuple[int, str] | None:
        """(index in the window, reason) of the first price that this model cannot take, if there is one."""
        if self._transform.is_harmless(min(window), max(window)):
            return None
        return next(((index, reason) for _, index, reason in self._transform.faults(np.array([window]))), None)

    def _forecast(self, encoded: Encoded) -> F64:
        outputs = self.engine.run(encoded.inputs).reshape(-1, *self._offsets.shape).astype(np.float64)
        outputs += self._offsets  # none at the median
        if self._center == "last_price":  # which becomes the last price, and stays it however far an offset reaches
            outputs += encoded.last - outputs[:, :, self._median, None]
            np.minimum(outputs[:, :, : self._median], encoded.last, out=outputs[:, :, : self._median])
            np.maximum(outputs[:, :, self._median :], encoded.last, out=outputs[:, :, self._median :])
        outputs.sort(axis=2)  # rearranged, so that no two quantiles cross (Chernozhukov et al., 2010)
        prices = self._transform.decode(outputs, encoded)
        if not np.isfinite(prices).all():
            raise EngineFailed("the network answered with something that is not a number")
        return prices

    def _warnings(self, observed: F64) -> list[Sequence[ForecastWarning]]:
        """What the callers of B windows should know, of which (B, 2) was observed."""
        found: list[Sequence[ForecastWarning]] = [()] * len(observed)
        outside = (observed[:, 0] < self._range.low) | (observed[:, 1] > self._range.high)
        for row in outside.nonzero()[0].tolist():
            low, high = observed[row].tolist()
            sides = []
            if low < self._range.low:
                sides.append(f"{low:.6g} is below {self._range.low:.6g}, the lowest")
            if high > self._range.high:
                sides.append(f"{high:.6g} is above {self._range.high:.6g}, the highest")
            detail = f"{self._range.quantity} of the window: {' and '.join(sides)} in the training data"
            found[row] = [ForecastWarning("outside_training_range", detail)]
        return found


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
        steps, features = started.steps_and_features
    except Exception as error:  # whatever a model file can do to its reader
        reason = str(error).replace(str(file), file.name)  # where it lies is nobody's business but the log's
        raise ArtifactError(file, f"the network cannot be loaded: {reason}") from error
    expected = (artifact.transform.steps(manifest.window), 1)
    if (steps, features) != expected:
        raise ArtifactError(
            file,
            f"the network takes {steps} steps of {features}; a window of {manifest.window} gives {expected[0]} of 1",
        )
    forecaster = Forecaster(
        artifact.transform, started, manifest.calibration, manifest.quantiles, manifest.training_range
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
        from app.engines.onnx import OnnxEngine

        return OnnxEngine(artifact.onnx)
    from app.engines.keras import KerasEngine  # only here: Keras takes seconds and hundreds of megabytes

    return KerasEngine(artifact.keras)


def _signed(offsets: F64) -> F64:
    """(H, L) offsets per level, rising levels, to (H, Q): down below the median, up above it."""
    return np.concatenate([-offsets[:, ::-1], np.zeros((len(offsets), 1)), offsets], axis=1)
