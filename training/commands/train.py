"""The command `train`: train the network of a recipe, and publish it as an artifact."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import joblib
import keras
import numpy as np

from app.artifact import store
from app.artifact.arrays import F32
from app.artifact.evidence import Curve, Evidence
from app.artifact.manifest import Calibration, GoldenForecasts, ManifestDraft, NetworkSummary, TrainingRange
from app.artifact.publishing import staging_directory
from app.artifact.transform import Transform
from app.errors import ArtifactError, EngineFailed
from app.inference.engines.onnx import OnnxEngine
from app.inference.forecaster import GOLDEN_TOLERANCE, EngineName, Forecaster, load_forecaster
from training import provenance
from training.data.series import Series
from training.data.split import Samples
from training.data.unseen_series import load_unseen_series
from training.evaluation.backtest import Backtest, run_backtest, samples_from
from training.evaluation.scoring import score_backtest
from training.evaluation.summary import summarize
from training.fitting.calibration import fit_calibration
from training.fitting.preparation import PreparedTraining, prepare_training
from training.fitting.progress import ProgressDisplay
from training.fitting.training_loop import fit_network, solve_echo_state
from training.networks import architectures
from training.networks.onnx_export import to_onnx
from training.recipe import Recipe
from training.reports import report
from training.signals import defer_signals

GOLDEN_WINDOWS = 4  # number of golden forecasts in the manifest
COMPARED_WINDOWS = 256  # approximate number of inputs to compare the ONNX and the Keras network on


class NetworkError(Exception):
    """A trained network that cannot be published. The message says why."""


@dataclass(frozen=True)
class TrainingResult:
    """The result of a training run that was published."""

    path: Path  # directory of the artifact
    evidence: Evidence
    parameters: int  # number of parameters of the network


def train_and_publish(
    recipe: Recipe, name: str, models_dir: Path, display: ProgressDisplay, print_line: Callable[[str], None]
) -> TrainingResult:
    """Train, calibrate and backtest a network, and publish it as the next version of a model.

    If the run fails or is interrupted, nothing is published.

    Args:
        recipe: The recipe to follow.
        name: The name of the model.
        models_dir: The directory of models.
        display: Shows the progress of training.
        print_line: Prints a line about the training data.

    Raises:
        DataError: The prices cannot be used.
        NetworkError: Training has diverged, or an engine cannot serve the network.
    """
    keras.utils.set_random_seed(recipe.seed)
    with staging_directory(models_dir, name) as stage:
        prepared = prepare_training(recipe, print_line)
        joblib.dump(prepared.scaler, stage.path / "scaler.joblib")
        unseen = load_unseen_series(recipe.data.unseen)  # before training, so that missing data is reported at once
        network = prepared.build_network(recipe)
        curve = _fit(network, recipe, prepared, display)
        engine = _save_network(network, stage.path, prepared.train[0])
        training_ranges = _training_ranges(prepared.transform, prepared.training_blocks.train)

        def make_forecaster(calibration: Calibration) -> Forecaster:
            return Forecaster(prepared.transform, engine, calibration, recipe.quantiles, training_ranges)

        try:
            calibration = fit_calibration(
                recipe,
                make_forecaster,
                prepared.transform,
                prepared.evaluation_blocks.validation,
                prepared.training_blocks.calibration,
            )
            forecaster = make_forecaster(calibration)
            backtests = _run_backtests(recipe, forecaster, prepared.evaluation_blocks.test, unseen)
        except EngineFailed as error:
            raise NetworkError(f"training has diverged: {error}") from error
        scores = [score for backtest in backtests for score in score_backtest(backtest)]
        evidence = summarize(scores, is_centered_on_last_price=calibration.center == "last_price")
        report.write_report(stage.path, name, recipe.description, backtests, curve, evidence)

        parameters = network.count_params()
        draft = ManifestDraft(
            window=recipe.window,
            horizon=recipe.horizon,
            levels=recipe.levels,
            transform=recipe.transform,
            network=NetworkSummary(
                **recipe.network.model_dump(include={"structure", "cell", "units", "head"}), parameters=parameters
            ),
            calibration=calibration,
            training_ranges=training_ranges,
            recipe=provenance.recipe_record(recipe),
            data=[
                *map(provenance.instrument_record, prepared.real_series),
                *provenance.simulated_instrument_records(prepared.simulated_series, prepared.resampled is not None),
            ],
            evidence=evidence,
            curve=curve,
            libraries=provenance.library_versions(),
            golden=_golden_forecasts(forecaster, backtests),
        )
        version = stage.publish(draft, check=_check_loads)
    return TrainingResult(models_dir / name / version, evidence, parameters)


def _fit(network: keras.Model, recipe: Recipe, prepared: PreparedTraining, display: ProgressDisplay) -> Curve:
    """Fit the network in place, and return its losses."""
    if recipe.network.cell == "echo_state":
        return solve_echo_state(network, recipe, prepared.train, prepared.validation, display)
    trained = architectures.training_graph(network, recipe.network)
    train = prepared.resampled or prepared.train
    return fit_network(trained, recipe.training, recipe.quantiles, train, prepared.validation, display)


@defer_signals()
def _save_network(network: keras.Model, directory: Path, inputs: F32) -> OnnxEngine:
    """Save the network in both formats.

    Args:
        network: The fitted network.
        directory: The directory of the artifact.
        inputs: (N, T, F) inputs. The two formats are compared on some of them.

    Returns:
        An engine that runs the ONNX network.

    Raises:
        NetworkError: The network's outputs are not finite, or differ between the two formats.
    """
    architectures.inference_copy(network).save(directory / "model.keras")
    onnx = to_onnx(network)
    (directory / "model.onnx").write_bytes(onnx)
    engine = OnnxEngine(onnx)
    _check_same_outputs(network, engine, inputs[:: max(1, len(inputs) // COMPARED_WINDOWS)])
    return engine


def _run_backtests(
    recipe: Recipe, forecaster: Forecaster, test: Sequence[Samples], unseen: Sequence[Series]
) -> list[Backtest]:
    """Backtest the test blocks, and the whole of the series that the recipe does not train on."""
    whole = [samples_from(series, 0, recipe.window, recipe.horizon) for series in unseen]
    return [
        run_backtest(forecaster, samples, recipe.quantiles, recipe.levels, is_seen)
        for block, is_seen in ((test, True), (whole, False))
        for samples in block
    ]


def _training_ranges(transform: Transform, train: Sequence[Samples]) -> list[TrainingRange]:
    """Return the range of each quantity in the training block. Forecasts from windows outside it carry a warning."""
    observed = np.concatenate([transform.encode(samples.windows).observed_ranges for samples in train])  # (N, R, 2)
    lows, highs = observed[:, :, 0].min(axis=0), observed[:, :, 1].max(axis=0)
    return [
        TrainingRange(quantity=quantity, low=low, high=high)
        for quantity, low, high in zip(transform.quantities, lows, highs, strict=True)
    ]


def _check_same_outputs(network: keras.Model, engine: OnnxEngine, inputs: F32) -> None:
    """Raise NetworkError if outputs of the Keras network are not finite, or the ONNX network's outputs differ."""
    outputs = np.asarray(network.predict(inputs, verbose=0))
    if not np.isfinite(outputs).all():
        raise NetworkError(
            "training has diverged: the network's outputs are not finite; "
            "try a lower learning_rate or gradient clipping (clip_norm)"
        )
    difference = float(np.max(np.abs(engine.run(inputs) - outputs)) / max(1.0, float(np.max(np.abs(outputs)))))
    if difference > GOLDEN_TOLERANCE:
        raise NetworkError(
            f"the outputs of the ONNX network differ from those of the Keras network by {difference:.2g}"
        )


def _golden_forecasts(forecaster: Forecaster, backtests: Sequence[Backtest]) -> GoldenForecasts:
    """Forecast a few of the backtests' last windows."""
    last = [
        backtest.samples.windows[-1 - i]
        for i in range(GOLDEN_WINDOWS)
        for backtest in backtests
        if i < len(backtest.samples)
    ]
    windows = np.stack(last[:GOLDEN_WINDOWS])
    return GoldenForecasts(windows=windows.tolist(), forecasts=forecaster.forecast(windows).tolist())


@defer_signals()
def _check_loads(path: Path) -> None:
    """Load the complete artifact as the service does. Raise NetworkError if an engine cannot serve it."""
    artifact = store.read_artifact(path)
    for engine in get_args(EngineName):
        try:
            load_forecaster(artifact, engine)
        except ArtifactError as error:
            raise NetworkError(
                f"the {engine} engine cannot serve the network: {error.path.name}: {error.reason}"
            ) from error
