"""A training run: a recipe and price history in, a published artifact out. Read it from top to bottom."""

import platform
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

import joblib
import keras
import numpy as np
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from app.artifact import store
from app.artifact.manifest import Calibration, Draft, Evidence, Golden, Instrument, Network, Range
from app.artifact.transform import F32, F64, Affine, Encoded, Transform, build
from app.engines.onnx import OnnxEngine
from app.forecaster import GOLDEN_TOLERANCE, Forecaster, load
from training import backtest, calibrate, data, networks, report, split, synthetic
from training.backtest import Backtest
from training.export import to_onnx
from training.fit import Display, fit
from training.recipe import Recipe
from training.split import Blocks, Samples

GOLDEN_WINDOWS = 4
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
        for series in market:
            say(f"{series.name}: {len(series.prices)} prices" + "".join(f"; {note}" for note in series.notes))
        blocks, judged = _blocks(recipe, market, simulated, test_rows)

        scaler, transform = _fit_scaler(recipe, blocks.train)
        joblib.dump(scaler, stage.path / "scaler.joblib")
        train = _encode(transform, blocks.train)
        validation = _encode(transform, blocks.validation) if blocks.validation else None
        say(f"{len(train[0])} windows to train on, {len(validation[0]) if validation else 0} to validate")

        outputs = recipe.horizon * len(recipe.quantiles)
        start_at = _empirical_quantiles(train[1], recipe.quantiles) if recipe.training.loss == "pinball" else None
        network = networks.build(recipe.network, transform.steps(recipe.window), outputs, start_at)
        curve = fit(network, recipe.training, recipe.quantiles, train, validation, show)
        network.save(stage.path / "model.keras")
        onnx = to_onnx(network)
        (stage.path / "model.onnx").write_bytes(onnx)
        engine = OnnxEngine(onnx)
        _compare(network, engine, train[0][:: max(1, len(train[0]) // 256)])

        observed = np.concatenate([transform.observed(samples.windows) for samples in blocks.train])
        seen = Range(quantity=transform.quantity, low=observed[:, 0].min(), high=observed[:, 1].max())

        def forecaster(calibration: Calibration) -> Forecaster:
            return Forecaster(transform, engine, calibration, recipe.quantiles, seen)

        calibration = _calibrate(recipe, forecaster, transform, judged.validation, blocks.calibration)
        served = forecaster(calibration)
        tests = [backtest.run(served, samples, recipe.quantiles, recipe.levels) for samples in judged.test]
        scores = [row for test in tests for row in backtest.score(test)]
        evidence = backtest.evidence(scores, held=calibration.center == "last_price")
        report.write(stage.path, name, recipe.description, tests, curve, evidence)

        draft = Draft(
            window=recipe.window,
            horizon=recipe.horizon,
            levels=recipe.levels,
            transform=recipe.transform,
            network=Network(**recipe.network.model_dump(exclude={"dropout"}), parameters=network.count_params()),
            calibration=calibration,
            training_range=seen,
            recipe=_recorded(recipe),
            data=[*map(_provenance, market), *_simulated_provenance(simulated)],
            evidence=evidence,
            libraries={"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}}
            | {"backend": keras.backend.backend()},
            golden=_golden(served, tests),
        )
        number = stage.publish(draft, check=_loads)
    return Published(models_dir / name / number, evidence)


def _series(recipe: Recipe) -> tuple[list[data.Series], list[data.Series], int | None]:
    """Market series, simulated series, and how many of the last rows are a test file's."""
    wanted = recipe.data
    simulated = []
    if wanted.synthetic_paths:
        simulated = synthetic.simulate(wanted.synthetic_paths, wanted.synthetic_length, recipe.seed)
    if wanted.csv is None:
        return data.stocks(wanted.stocks, wanted.column) if wanted.stocks else [], simulated, None
    prices = data.read_csv(wanted.csv, wanted.column)
    if wanted.test_csv is None:
        return [prices], simulated, None
    test = data.read_csv(wanted.test_csv, wanted.column)
    return [_join(prices, test)], simulated, len(test.prices)


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


def _blocks(
    recipe: Recipe, market: Sequence[data.Series], simulated: Sequence[data.Series], test_rows: int | None
) -> tuple[Blocks, Blocks]:
    """The blocks to train on, and those by which the model is judged.

    Markets judge a model where there are any, and simulated paths then only teach and calibrate; otherwise these judge,
    as one.
    """
    size = (recipe.window, recipe.horizon)
    if not market:
        blocks = split.by_path(simulated, recipe.split, *size)
        return blocks, Blocks(*([_pool(block)] if block else [] for block in blocks))
    judged = split.in_time(market, recipe.split, *size, test_rows)
    taught = split.by_path(simulated, recipe.split.model_copy(update={"test": 0.0}), *size)
    return Blocks(*(ours + theirs for ours, theirs in zip(judged, taught, strict=True))), judged


def _pool(block: Sequence[Samples]) -> Samples:
    first = block[0]
    return Samples(
        replace(first.series, name="synthetic"),
        np.arange(sum(map(len, block))),
        np.concatenate([samples.windows for samples in block]),
        np.concatenate([samples.futures for samples in block]),
    )


def _fit_scaler(recipe: Recipe, train: Sequence[Samples]) -> tuple[MinMaxScaler | StandardScaler, Transform]:
    """The scikit-learn scaler of the recipe's transform, fitted on the rows of the training block and no others."""
    unscaled = build(recipe.transform, Affine(1.0, 0.0))
    rows = [samples.series.prices[: samples.origins[-1] + recipe.horizon + 1] for samples in train]
    for samples, prices in zip(train, rows, strict=True):
        _refuse_faults(unscaled, samples.series.name, prices)
    sample = np.concatenate([unscaled.scaler_sample(prices, recipe.window) for prices in rows])
    scaler = MinMaxScaler() if recipe.transform.kind == "minmax_price" else StandardScaler(with_mean=False)
    scaler.fit(sample)
    return scaler, build(recipe.transform, Affine.of(scaler))


def _refuse_faults(transform: Transform, name: str, prices: F64) -> None:
    for _, index, reason in transform.faults(prices[None]):
        raise data.DataError(f"{name}, price {index + 1}", reason)


def _encode(transform: Transform, block: Sequence[Samples]) -> tuple[F32, F64]:
    """Inputs (N, T, F) and targets (N, H) of all samples of a block."""
    encoded = [transform.encode(samples.windows) for samples in block]
    targets = [transform.targets(samples.futures, each) for samples, each in zip(block, encoded, strict=True)]
    return np.concatenate([each.inputs for each in encoded]), np.concatenate(targets)


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


def _calibrate(
    recipe: Recipe,
    forecaster: Callable[[Calibration], Forecaster],
    transform: Transform,
    validation: Sequence[Samples],
    block: Sequence[Samples],
) -> Calibration:
    """Chooses the center on the validation block of what judges, and measures the offsets on the calibration block."""

    def backtests(center: str, block: Iterable[Samples]) -> list[Backtest]:
        plain = forecaster(calibrate.none(recipe.horizon, recipe.levels, center))
        return [backtest.run(plain, samples, recipe.quantiles, recipe.levels) for samples in block]

    center = recipe.calibration.center
    if center == "auto":
        scores = [row for test in backtests("network", validation) for row in backtest.score(test)]
        center = "network" if calibrate.has_skill(scores) else "last_price"
    if not recipe.levels:
        return calibrate.none(recipe.horizon, recipe.levels, center)
    if not block:
        raise data.DataError("the calibration block", "is empty: there are too few prices for split.calibration")
    quantiles, targets = [], []
    for test in backtests(center, block):
        encoded = transform.encode(test.samples.windows)
        targets.append(transform.targets(test.samples.futures, encoded))
        quantiles.append(_in_output_units(transform, test.forecasts, encoded))
    offsets = calibrate.conformal_offsets(np.concatenate(quantiles), np.concatenate(targets), recipe.levels)
    return Calibration(center=center, offsets=offsets)


def _in_output_units(transform: Transform, forecasts: F64, encoded: Encoded) -> F64:
    """(N, H, Q) prices as the network would have said them."""
    return np.stack([transform.targets(forecasts[:, :, i], encoded) for i in range(forecasts.shape[2])], axis=2)


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


def _recorded(recipe: Recipe) -> dict[str, Any]:
    """The recipe in full, without the directories of somebody's machine."""
    content = recipe.model_dump(mode="json")
    for key in ("csv", "test_csv"):
        if content["data"][key]:
            content["data"][key] = Path(content["data"][key]).name
    return content


def _provenance(series: data.Series) -> Instrument:
    return Instrument(
        name=series.name,
        source=series.source,
        rows=len(series.prices),
        first_date=_date(series, 0),
        last_date=_date(series, -1),
        sha256=series.sha256,
    )


def _simulated_provenance(simulated: Sequence[data.Series]) -> list[Instrument]:
    """All paths as one instrument: nobody wants to read hundreds."""
    if not simulated:
        return []
    rows = sum(len(series.prices) for series in simulated)
    digest = sha256("".join(series.sha256 for series in simulated).encode()).hexdigest()
    source = f"{len(simulated)} simulated paths"
    return [Instrument(name="synthetic", source=source, rows=rows, first_date=None, last_date=None, sha256=digest)]


def _date(series: data.Series, index: int) -> date | None:
    return None if series.dates is None else series.dates[index].astype("datetime64[D]").item()
