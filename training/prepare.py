"""What a run learns from: the series of a recipe, cut into blocks, scaled and encoded."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256

import keras
import numpy as np
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from app.artifact.affine import Affine
from app.artifact.transform import F64, EncodedWindows, Transform, build_transform
from training import data, networks, split, synthetic
from training.batches import Encoded, Redrawn
from training.recipe import Recipe, Split
from training.split import Blocks, Samples

ANEW = 2**31  # from the seed of an epoch's paths to that of the next's: further than recipes' seeds can be apart


@dataclass(frozen=True, eq=False)
class Prepared:
    market: list[data.Series]
    simulated: list[data.Series]
    blocks: Blocks  # to train on
    judged: Blocks  # by which the model is judged
    scaler: MinMaxScaler | StandardScaler
    transform: Transform
    train: Encoded
    validation: Encoded | None
    redrawn: Redrawn | None  # to train on instead, where simulated windows are drawn anew for each epoch

    def network(self, recipe: Recipe) -> keras.Model:
        """The network, untrained."""
        start_at = None
        if recipe.training.loss == "pinball":
            start_at = empirical_quantiles(self.train[1][:, -recipe.horizon :], recipe.quantiles)
        shape, outputs = self.transform.input_shape(recipe.window), recipe.horizon * len(recipe.quantiles)
        return networks.build(recipe.network, shape, outputs, start_at, recipe.horizon)


def prepare(recipe: Recipe, say: Callable[[str], None]) -> Prepared:
    """Reads, cuts, scales and encodes, and says what there is.

    Raises:
        DataError: the prices cannot be used.
    """
    market, simulated, test_rows = _series(recipe)
    for series in market:
        say(f"{series.name}: {len(series.prices)} prices" + "".join(f"; {note}" for note in series.notes))
    blocks, judged = split.blocks(
        market, simulated, recipe.split, recipe.window, recipe.horizon, test_rows, recipe.data.synthetic_stride
    )
    _refuse_empty(recipe, blocks)
    scaler, transform = fit_scaler(recipe, blocks.train)
    every = recipe.network.every_step
    train = encode(transform, blocks.train, every)
    validation = encode(transform, blocks.validation, every) if blocks.validation else None
    anew = simulated and recipe.network.cell != "echo_state"  # which is solved at once
    drawn = redrawn(recipe, transform, judged.train if market else []) if anew else None
    count, said = (drawn.samples, ", the simulated ones anew for each epoch") if drawn else (len(train[0]), "")
    say(f"{count} windows to train on{said}; {len(validation[0]) if validation else 0} to validate")
    return Prepared(market, simulated, blocks, judged, scaler, transform, train, validation, drawn)


def _series(recipe: Recipe) -> tuple[list[data.Series], list[data.Series], int | None]:
    """Market series, simulated series, and how many of the last rows are a test file's."""
    wanted = recipe.data
    simulated = []
    if wanted.synthetic_paths:
        simulated = synthetic.simulate(wanted.synthetic_paths, wanted.synthetic_length, recipe.seed)
    files = [data.read_csv(path, wanted.column) for path in (wanted.csv, wanted.test_csv) if path is not None]
    market = files or (data.stocks(wanted.stocks, wanted.column) if wanted.stocks else [])
    transform = build_transform(recipe.transform, Affine(1.0, 0.0))
    for series in market:
        data.reject_invalid_prices(series, transform)
    if wanted.test_csv is None:
        return market, simulated, None
    return [join(*files)], simulated, len(files[1].prices)


def join(before: data.Series, after: data.Series) -> data.Series:
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


def fit_scaler(recipe: Recipe, train: Sequence[Samples]) -> tuple[MinMaxScaler | StandardScaler, Transform]:
    """The scikit-learn scaler of the recipe's transform, fitted on the rows of the training block and no others."""
    unscaled = build_transform(recipe.transform, Affine(1.0, 0.0))
    scaler = MinMaxScaler() if recipe.transform.kind == "minmax_price" else StandardScaler(with_mean=False)
    for samples in train:
        scaler.partial_fit(unscaled.scaler_training_values(samples.windows, samples.futures))
    return scaler, build_transform(recipe.transform, Affine.from_scaler(scaler))


def encode(transform: Transform, block: Sequence[Samples], every: bool = False) -> Encoded:
    """Inputs (N, T, F) and targets (N, H) of all samples of a block, or (N, T·H) of every step of their windows."""
    encoded = [transform.encode(samples.windows) for samples in block]
    targets = [
        _every_step(transform, samples, each) if every else transform.encode_targets(samples.futures, each)
        for samples, each in zip(block, encoded, strict=True)
    ]
    return np.concatenate([each.inputs for each in encoded]), np.concatenate(targets)


def _every_step(transform: Transform, samples: Samples, encoded: EncodedWindows) -> F64:
    """(N, T·H): what should have been said after each step of a window, in the units of the whole window."""
    prices = np.concatenate([samples.windows, samples.futures], axis=1)  # (N, W + H)
    horizon, window = samples.futures.shape[1], samples.windows.shape[1]
    steps = encoded.inputs.shape[1]
    said = [
        transform.encode_targets(
            prices[:, last + 1 : last + 1 + horizon], replace(encoded, last_price=prices[:, last, None, None])
        )
        for last in range(window - steps, window)
    ]
    return np.concatenate(said, axis=1)


def redrawn(recipe: Recipe, transform: Transform, market: Sequence[Samples]) -> Redrawn:
    """Batches of the market's samples and of simulated ones that are new in each epoch."""

    every = recipe.network.every_step

    def draw(epoch: int) -> list[Encoded]:
        wanted = recipe.data
        paths = synthetic.simulate(wanted.synthetic_paths, wanted.synthetic_length, recipe.seed + (epoch + 1) * ANEW)
        block = split.by_path(paths, Split(test=0), recipe.window, recipe.horizon, wanted.synthetic_stride).train
        return [encode(transform, block, every)]

    kept = [encode(transform, market, every)] if market else []
    return Redrawn(kept, draw, recipe.training.batch, recipe.training.epochs, recipe.seed)


def _refuse_empty(recipe: Recipe, blocks: Blocks) -> None:
    """Before anything is trained, what would come to light after it."""
    if recipe.levels and not blocks.calibration:
        raise data.DataError("the calibration block", "is empty: there are too few prices for split.calibration")
    if recipe.training.patience and not blocks.validation:
        raise data.DataError("the validation block", "is empty: there are too few prices for split.validation")


def empirical_quantiles(targets: F64, quantiles: Sequence[float]) -> F64:
    """(H·Q,) quantiles of (N, H) targets, the median at 0: a network that answers these is a random walk."""
    found = np.quantile(targets, quantiles, axis=0).T  # (H, Q)
    found -= found[:, len(quantiles) // 2, None]
    return found.reshape(-1)
