"""What a run learns from: the series of a recipe, cut into blocks, scaled and encoded."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import keras
import numpy as np
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from app.artifact.affine import Affine
from app.artifact.transform import F64, EncodedWindows, Transform, build_transform
from training.data import simulator
from training.data.blocks import Blocks, EncodedSamples, Samples, split_blocks, split_by_path
from training.data.csv_file import read_csv
from training.data.sample_stocks import sample_stocks
from training.data.series import DataError, Series, concatenate_series, reject_invalid_prices
from training.fitting.resampled_dataset import ResampledDataset
from training.networks import architectures
from training.recipe import Recipe, Split

EPOCH_SEED_STRIDE = (
    2**31
)  # from the seed of an epoch's paths to that of the next's: further than recipes' seeds can be apart


@dataclass(frozen=True, eq=False)
class PreparedTraining:
    market: list[Series]
    simulated: list[Series]
    blocks: Blocks  # to train on
    judged: Blocks  # by which the model is judged
    scaler: MinMaxScaler | StandardScaler
    transform: Transform
    train: EncodedSamples
    validation: EncodedSamples | None
    resampled: ResampledDataset | None  # to train on instead, where simulated windows are drawn anew for each epoch

    def network(self, recipe: Recipe) -> keras.Model:
        """The network, untrained."""
        start_at = None
        if recipe.training.loss == "pinball":
            start_at = empirical_quantiles(self.train[1][:, -recipe.horizon :], recipe.quantiles)
        shape, outputs = self.transform.input_shape(recipe.window), recipe.horizon * len(recipe.quantiles)
        return architectures.build_network(recipe.network, shape, outputs, start_at, recipe.horizon)


def prepare_training(recipe: Recipe, say: Callable[[str], None]) -> PreparedTraining:
    """Reads, cuts, scales and encodes, and says what there is.

    Raises:
        DataError: the prices cannot be used.
    """
    market, simulated, test_rows = _series(recipe)
    for series in market:
        say(f"{series.name}: {len(series.prices)} prices" + "".join(f"; {note}" for note in series.notes))
    blocks, judged = split_blocks(
        market, simulated, recipe.split, recipe.window, recipe.horizon, test_rows, recipe.data.synthetic_stride
    )
    _refuse_empty(recipe, blocks)
    scaler, transform = fit_scaler(recipe, blocks.train)
    every = recipe.network.every_step
    train = encode(transform, blocks.train, every)
    validation = encode(transform, blocks.validation, every) if blocks.validation else None
    anew = simulated and recipe.network.cell != "echo_state"  # which is solved at once
    drawn = resampled_dataset(recipe, transform, judged.train if market else []) if anew else None
    count, said = (drawn.samples, ", the simulated ones anew for each epoch") if drawn else (len(train[0]), "")
    say(f"{count} windows to train on{said}; {len(validation[0]) if validation else 0} to validate")
    return PreparedTraining(market, simulated, blocks, judged, scaler, transform, train, validation, drawn)


def _series(recipe: Recipe) -> tuple[list[Series], list[Series], int | None]:
    """Market series, simulated series, and how many of the last rows are a test file's."""
    wanted = recipe.data
    simulated = []
    if wanted.synthetic_paths:
        simulated = simulator.simulate_paths(wanted.synthetic_paths, wanted.synthetic_length, recipe.seed)
    files = [read_csv(path, wanted.column) for path in (wanted.csv, wanted.test_csv) if path is not None]
    market = files or (sample_stocks(wanted.stocks, wanted.column) if wanted.stocks else [])
    transform = build_transform(recipe.transform, Affine(1.0, 0.0))
    for series in market:
        reject_invalid_prices(series, transform)
    if wanted.test_csv is None:
        return market, simulated, None
    return [concatenate_series(*files)], simulated, len(files[1].prices)


def fit_scaler(recipe: Recipe, train: Sequence[Samples]) -> tuple[MinMaxScaler | StandardScaler, Transform]:
    """The scikit-learn scaler of the recipe's transform, fitted on the rows of the training block and no others."""
    unscaled = build_transform(recipe.transform, Affine(1.0, 0.0))
    scaler = MinMaxScaler() if recipe.transform.kind == "minmax_price" else StandardScaler(with_mean=False)
    for samples in train:
        scaler.partial_fit(unscaled.scaler_training_values(samples.windows, samples.futures))
    return scaler, build_transform(recipe.transform, Affine.from_scaler(scaler))


def encode(transform: Transform, block: Sequence[Samples], every: bool = False) -> EncodedSamples:
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


def resampled_dataset(recipe: Recipe, transform: Transform, market: Sequence[Samples]) -> ResampledDataset:
    """Batches of the market's samples and of simulated ones that are new in each epoch."""

    every = recipe.network.every_step

    def draw(epoch: int) -> list[EncodedSamples]:
        wanted = recipe.data
        paths = simulator.simulate_paths(
            wanted.synthetic_paths, wanted.synthetic_length, recipe.seed + (epoch + 1) * EPOCH_SEED_STRIDE
        )
        block = split_by_path(paths, Split(test=0), recipe.window, recipe.horizon, wanted.synthetic_stride).train
        return [encode(transform, block, every)]

    kept = [encode(transform, market, every)] if market else []
    return ResampledDataset(kept, draw, recipe.training.batch, recipe.training.epochs, recipe.seed)


def _refuse_empty(recipe: Recipe, blocks: Blocks) -> None:
    """Before anything is trained, what would come to light after it."""
    if recipe.levels and not blocks.calibration:
        raise DataError("the calibration block", "is empty: there are too few prices for blocks.calibration")
    if recipe.training.patience and not blocks.validation:
        raise DataError("the validation block", "is empty: there are too few prices for blocks.validation")


def empirical_quantiles(targets: F64, quantiles: Sequence[float]) -> F64:
    """(H·Q,) quantiles of (N, H) targets, the median at 0: a network that answers these is a random walk."""
    found = np.quantile(targets, quantiles, axis=0).T  # (H, Q)
    found -= found[:, len(quantiles) // 2, None]
    return found.reshape(-1)
