"""A training run: a recipe and price history in, a published artifact out. Read it from top to bottom."""

import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

import joblib
import keras
import numpy as np
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from app.artifact import store
from app.artifact.evidence import Evidence
from app.artifact.manifest import Calibration, Draft, Golden, Network, Range
from app.artifact.transform import F32, F64, Affine, Transform, build
from app.artifact.transform import Encoded as EncodedWindows
from app.engines.onnx import OnnxEngine
from app.errors import EngineFailed
from app.forecaster import GOLDEN_TOLERANCE, Forecaster, load
from training import backtest, calibrate, data, evidence, networks, provenance, report, split, synthetic
from training.backtest import Backtest
from training.batches import Encoded, Redrawn
from training.export import to_onnx
from training.fit import Display, fit, solve
from training.recipe import Recipe, Split
from training.split import Blocks, Samples

GOLDEN_WINDOWS = 4
ANEW = 2**31  # from the seed of an epoch's paths to that of the next's: further than recipes' seeds can be apart
LIBRARIES = ("keras", "numpy", "onnx", "onnxruntime", "scikit-learn", "joblib")


class NetworkError(Exception):
    """A trained network that must not be published."""


@dataclass(frozen=True)
class Published:
    """What a run has made."""

    path: Path
    evidence: Evidence


def run(recipe: Recipe, name: str, models_dir: Path, show: Display, say: Callable[[str], None]) -> Published:
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
    with store.staging(models_dir, name) as stage:
        market, simulated, test_rows = _series(recipe)
        unseen = data.unseen(recipe.data.unseen)
        for series in market:
            say(f"{series.name}: {len(series.prices)} prices" + "".join(f"; {note}" for note in series.notes))
        blocks, judged = split.blocks(
            market, simulated, recipe.split, recipe.window, recipe.horizon, test_rows, recipe.data.synthetic_stride
        )
        _refuse_empty(recipe, blocks)

        scaler, transform = _fit_scaler(recipe, blocks.train)
        joblib.dump(scaler, stage.path / "scaler.joblib")
        every = recipe.network.every_step
        train = _encode(transform, blocks.train, every)
        validation = _encode(transform, blocks.validation, every) if blocks.validation else None
        is_echo = recipe.network.cell == "echo_state"
        redrawn = _redrawn(recipe, transform, judged.train if market else []) if simulated and not is_echo else None
        count, anew = (redrawn.samples, ", the simulated ones anew for each epoch") if redrawn else (len(train[0]), "")
        say(f"{count} windows to train on{anew}; {len(validation[0]) if validation else 0} to validate")

        outputs = recipe.horizon * len(recipe.quantiles)
        start_at = None
        if recipe.training.loss == "pinball":
            start_at = _empirical_quantiles(train[1][:, -recipe.horizon :], recipe.quantiles)
        network = networks.build(recipe.network, transform.shape(recipe.window), outputs, start_at, recipe.horizon)
        if is_echo:
            curve = solve(network, recipe, train, validation, show)
        else:
            trained = networks.arranged(network, recipe.network)
            curve = fit(trained, recipe.training, recipe.quantiles, redrawn or train, validation, show)
        networks.bare(network).save(stage.path / "model.keras")
        onnx = to_onnx(network)
        (stage.path / "model.onnx").write_bytes(onnx)
        engine = OnnxEngine(onnx)
        _compare(network, engine, train[0][:: max(1, len(train[0]) // 256)])

        seen = _ranges(transform, blocks.train)

        def forecaster(calibration: Calibration) -> Forecaster:
            return Forecaster(transform, engine, calibration, recipe.quantiles, seen)

        try:
            calibration = calibrate.measure(recipe, forecaster, transform, judged.validation, blocks.calibration)
            served = forecaster(calibration)
            tests = [backtest.run(served, samples, recipe.quantiles, recipe.levels) for samples in judged.test]
            tests += [
                backtest.whole(served, series, recipe.window, recipe.horizon, recipe.quantiles, recipe.levels)
                for series in unseen
            ]
        except EngineFailed as error:
            raise NetworkError(f"training has diverged: {error}") from error
        scores = [row for test in tests for row in evidence.scores(test)]
        found = evidence.of(scores, held=calibration.center == "last_price")
        report.write(stage.path, name, recipe.description, tests, curve, found)

        draft = Draft(
            window=recipe.window,
            horizon=recipe.horizon,
            levels=recipe.levels,
            transform=recipe.transform,
            network=Network(
                **recipe.network.model_dump(include={"structure", "cell", "units", "head"}),
                parameters=network.count_params(),
            ),
            calibration=calibration,
            training_ranges=seen,
            recipe=provenance.recorded(recipe),
            data=[*map(provenance.instrument, market), *provenance.paths(simulated)],
            evidence=found,
            curve=curve,
            libraries={"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}}
            | {"backend": keras.backend.backend()},
            golden=_golden(served, tests),
        )
        number = stage.publish(draft, check=_loads)
    return Published(models_dir / name / number, found)


def _series(recipe: Recipe) -> tuple[list[data.Series], list[data.Series], int | None]:
    """Market series, simulated series, and how many of the last rows are a test file's."""
    wanted = recipe.data
    simulated = []
    if wanted.synthetic_paths:
        simulated = synthetic.simulate(wanted.synthetic_paths, wanted.synthetic_length, recipe.seed)
    files = [data.read_csv(path, wanted.column) for path in (wanted.csv, wanted.test_csv) if path is not None]
    market = files or (data.stocks(wanted.stocks, wanted.column) if wanted.stocks else [])
    transform = build(recipe.transform, Affine(1.0, 0.0))
    for series in market:
        data.refuse_faults(series, transform)
    if wanted.test_csv is None:
        return market, simulated, None
    return [_join(*files)], simulated, len(files[1].prices)


def _join(before: data.Series, after: data.Series) -> data.Series:
    dates = None
    if before.dates is not None and after.dates is not None:
        if after.dates[0] <= before.dates[-1]:
            raise data.DataError(after.source, f"begins before {before.source} ends; a test file must follow it")
        dates = np.concatenate([before.dates, after.dates])
    return replace(
        before,
        prices=np.concatenate([before.prices, after.prices]),
        dates=dates,
        source=f"{before.source}; {after.source}",
        sha256=sha256((before.sha256 + after.sha256).encode()).hexdigest(),
        notes=before.notes + after.notes,
    )


def _fit_scaler(recipe: Recipe, train: Sequence[Samples]) -> tuple[MinMaxScaler | StandardScaler, Transform]:
    """The scikit-learn scaler of the recipe's transform, fitted on the rows of the training block and no others."""
    unscaled = build(recipe.transform, Affine(1.0, 0.0))
    scaler = MinMaxScaler() if recipe.transform.kind == "minmax_price" else StandardScaler(with_mean=False)
    for samples in train:
        scaler.partial_fit(unscaled.scaler_sample(samples.windows, samples.futures))
    return scaler, build(recipe.transform, Affine.of(scaler))


def _redrawn(recipe: Recipe, transform: Transform, market: Sequence[Samples]) -> Redrawn:
    """Batches of the market's samples and of simulated ones that are new in each epoch."""

    every = recipe.network.every_step

    def draw(epoch: int) -> list[Encoded]:
        wanted = recipe.data
        paths = synthetic.simulate(wanted.synthetic_paths, wanted.synthetic_length, recipe.seed + (epoch + 1) * ANEW)
        block = split.by_path(paths, Split(test=0), recipe.window, recipe.horizon, wanted.synthetic_stride).train
        return [_encode(transform, block, every)]

    kept = [_encode(transform, market, every)] if market else []
    return Redrawn(kept, draw, recipe.training.batch, recipe.training.epochs, recipe.seed)


def _refuse_empty(recipe: Recipe, blocks: Blocks) -> None:
    """Before anything is trained, what would come to light after it."""
    if recipe.levels and not blocks.calibration:
        raise data.DataError("the calibration block", "is empty: there are too few prices for split.calibration")
    if recipe.training.patience and not blocks.validation:
        raise data.DataError("the validation block", "is empty: there are too few prices for split.validation")


def _encode(transform: Transform, block: Sequence[Samples], every: bool = False) -> Encoded:
    """Inputs (N, T, F) and targets (N, H) of all samples of a block, or (N, T·H) of every step of their windows."""
    encoded = [transform.encode(samples.windows) for samples in block]
    targets = [
        _every_step(transform, samples, each) if every else transform.targets(samples.futures, each)
        for samples, each in zip(block, encoded, strict=True)
    ]
    return np.concatenate([each.inputs for each in encoded]), np.concatenate(targets)


def _every_step(transform: Transform, samples: Samples, encoded: EncodedWindows) -> F64:
    """(N, T·H): what should have been said after each step of a window, in the units of the whole window."""
    prices = np.concatenate([samples.windows, samples.futures], axis=1)  # (N, W + H)
    horizon, window = samples.futures.shape[1], samples.windows.shape[1]
    steps = encoded.inputs.shape[1]
    said = [
        transform.targets(prices[:, last + 1 : last + 1 + horizon], replace(encoded, price=prices[:, last, None, None]))
        for last in range(window - steps, window)
    ]
    return np.concatenate(said, axis=1)


def _ranges(transform: Transform, train: Sequence[Samples]) -> list[Range]:
    """What the training block has of each quantity that a forecast may warn of."""
    observed = np.concatenate([transform.encode(samples.windows).observed for samples in train])  # (N, R, 2)
    lows, highs = observed[:, :, 0].min(axis=0), observed[:, :, 1].max(axis=0)
    return [
        Range(quantity=q, low=low, high=high) for q, low, high in zip(transform.quantities, lows, highs, strict=True)
    ]


def _empirical_quantiles(targets: F64, quantiles: Sequence[float]) -> F64:
    """(H·Q,) quantiles of (N, H) targets, the median at 0: a network that answers these is a random walk."""
    found = np.quantile(targets, quantiles, axis=0).T  # (H, Q)
    found -= found[:, len(quantiles) // 2, None]
    return found.reshape(-1)


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


def _golden(served: Forecaster, tests: Sequence[Backtest]) -> Golden:
    """The last windows of the first tests, and what is forecast for them."""
    last = [test.samples.windows[-1 - i] for i in range(GOLDEN_WINDOWS) for test in tests if i < len(test.samples)]
    windows = np.stack(last[:GOLDEN_WINDOWS])
    return Golden(windows=windows.tolist(), forecasts=served.forecast(windows).tolist())


def _loads(path: Path) -> None:
    """Loads the sealed artifact as the service would, on each engine."""
    artifact = store.read(path)
    load(artifact, "onnx")
    load(artifact, "keras")
