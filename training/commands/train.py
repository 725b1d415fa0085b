"""A training run: a recipe and price history in, a published artifact out. Read it from top to bottom."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import joblib
import keras
import numpy as np

from app.artifact import store
from app.artifact.evidence import Evidence
from app.artifact.manifest import Calibration, GoldenForecasts, ManifestDraft, NetworkSummary, TrainingRange
from app.artifact.publishing import staging_directory
from app.artifact.transform import F32, Transform
from app.errors import ArtifactError, EngineFailed
from app.inference.engines.onnx import OnnxEngine
from app.inference.forecaster import GOLDEN_TOLERANCE, EngineName, Forecaster, load_forecaster
from training import provenance
from training.data.blocks import Samples
from training.data.unseen_series import load_unseen_series
from training.evaluation import backtest, scoring, summary
from training.evaluation.backtest import Backtest
from training.fitting.calibration import fit_calibration
from training.fitting.preparation import prepare_training
from training.fitting.progress import ProgressDisplay
from training.fitting.training_loop import fit_network, solve_echo_state
from training.networks import architectures
from training.networks.onnx_export import to_onnx
from training.recipe import Recipe
from training.reports import report
from training.signals import defer_signals

GOLDEN_WINDOWS = 4


class NetworkError(Exception):
    """A trained network that must not be published."""


@dataclass(frozen=True)
class TrainingResult:
    """What a run has made."""

    path: Path
    evidence: Evidence
    parameters: int


def train_and_publish(
    recipe: Recipe, name: str, models_dir: Path, show: ProgressDisplay, say: Callable[[str], None]
) -> TrainingResult:
    """Trains, calibrates, backtests and publishes. Whatever interrupts it, no half artifact stays behind.

    Args:
        name: of the model to publish a version of.
        show: is told of the epochs.
        say: is told of everything else, a line at a time.

    Raises:
        DataError: the prices cannot be used.
        NetworkError: the network has become useless, or its ONNX form differs from it.
    """
    keras.utils.set_random_seed(recipe.seed)
    with staging_directory(models_dir, name) as stage:
        made = prepare_training(recipe, say)
        blocks, judged, transform = made.training_blocks, made.evaluation_blocks, made.transform
        is_resampled = made.resampled is not None
        joblib.dump(made.scaler, stage.path / "scaler.joblib")
        unseen = load_unseen_series(recipe.data.unseen)
        network = made.build_network(recipe)
        if recipe.network.cell == "echo_state":
            curve = solve_echo_state(network, recipe, made.train, made.validation, show)
        else:
            trained = architectures.training_graph(network, recipe.network)
            curve = fit_network(
                trained, recipe.training, recipe.quantiles, made.resampled or made.train, made.validation, show
            )
        with defer_signals():
            architectures.inference_copy(network).save(stage.path / "model.keras")
            onnx = to_onnx(network)
            (stage.path / "model.onnx").write_bytes(onnx)
            engine = OnnxEngine(onnx)
            _compare(network, engine, made.train[0][:: max(1, len(made.train[0]) // 256)])

        seen = _ranges(transform, blocks.train)

        def forecaster(calibration: Calibration) -> Forecaster:
            return Forecaster(transform, engine, calibration, recipe.quantiles, seen)

        try:
            calibration = fit_calibration(recipe, forecaster, transform, judged.validation, blocks.calibration)
            served = forecaster(calibration)
            tests = [backtest.run_backtest(served, samples, recipe.quantiles, recipe.levels) for samples in judged.test]
            tests += [
                backtest.backtest_unseen(served, series, recipe.window, recipe.horizon, recipe.quantiles, recipe.levels)
                for series in unseen
            ]
        except EngineFailed as error:
            raise NetworkError(f"training has diverged: {error}") from error
        scores = [row for test in tests for row in scoring.score_backtest(test)]
        found = summary.summarize(scores, held=calibration.center == "last_price")
        report.write_report(stage.path, name, recipe.description, tests, curve, found)

        draft = ManifestDraft(
            window=recipe.window,
            horizon=recipe.horizon,
            levels=recipe.levels,
            transform=recipe.transform,
            network=NetworkSummary(
                **recipe.network.model_dump(include={"structure", "cell", "units", "head"}),
                parameters=network.count_params(),
            ),
            calibration=calibration,
            training_ranges=seen,
            recipe=provenance.recipe_record(recipe),
            data=[
                *map(provenance.instrument_of, made.real_series),
                *provenance.simulated_instruments(made.simulated_series, is_resampled),
            ],
            evidence=found,
            curve=curve,
            libraries=provenance.library_versions(),
            golden=_golden(served, tests),
        )
        number = stage.publish(draft, check=_loads)
    return TrainingResult(models_dir / name / number, found, draft.network.parameters)


def _ranges(transform: Transform, train: Sequence[Samples]) -> list[TrainingRange]:
    """What the training block has of each quantity that a forecast may warn of."""
    observed = np.concatenate([transform.encode(samples.windows).observed_ranges for samples in train])  # (N, R, 2)
    lows, highs = observed[:, :, 0].min(axis=0), observed[:, :, 1].max(axis=0)
    return [
        TrainingRange(quantity=q, low=low, high=high)
        for q, low, high in zip(transform.quantities, lows, highs, strict=True)
    ]


def _compare(network: keras.Model, engine: OnnxEngine, inputs: F32) -> None:
    """Raises NetworkError unless both forms of the network say the same numbers."""
    ours = np.asarray(network.predict(inputs, verbose=0))
    if not np.isfinite(ours).all():
        raise NetworkError(
            "training has diverged: the network answers NaN; a lower learning rate or clip_norm may help"
        )
    difference = float(np.max(np.abs(engine.run(inputs) - ours)) / max(1.0, float(np.max(np.abs(ours)))))
    if difference > GOLDEN_TOLERANCE:
        raise NetworkError(f"the ONNX form of the network differs from Keras by {difference:.2g}")


def _golden(served: Forecaster, tests: Sequence[Backtest]) -> GoldenForecasts:
    """The last windows of the first tests, and what is forecast for them."""
    last = [test.samples.windows[-1 - i] for i in range(GOLDEN_WINDOWS) for test in tests if i < len(test.samples)]
    windows = np.stack(last[:GOLDEN_WINDOWS])
    return GoldenForecasts(windows=windows.tolist(), forecasts=served.forecast(windows).tolist())


@defer_signals()
def _loads(path: Path) -> None:
    """Loads the sealed artifact as the service would; raises NetworkError where an engine could not serve it."""
    artifact = store.read_artifact(path)
    for engine in get_args(EngineName):
        try:
            load_forecaster(artifact, engine)
        except ArtifactError as error:
            raise NetworkError(f"the engine {engine} cannot serve it: {error.path.name}: {error.reason}") from error
