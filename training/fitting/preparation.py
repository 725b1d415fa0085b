"""Prepares a recipe's data for training: loads and splits the series, and scales and encodes their windows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import keras
import numpy as np
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from app.artifact.affine import Affine
from app.artifact.arrays import F64
from app.artifact.transform import EncodedWindows, Transform, build_transform
from training.data import simulator
from training.data.csv_file import read_csv
from training.data.sample_stocks import load_sample_stocks
from training.data.series import DataError, Series, concatenate_series, reject_invalid_prices
from training.data.split import Blocks, EncodedSamples, Samples, split_blocks, split_by_path
from training.fitting.resampled_dataset import ResampledDataset
from training.networks import architectures
from training.recipe import Recipe, SplitConfig

# Difference between the simulator's seeds of consecutive epochs. Recipe seeds are smaller, so recipes with different
# seeds never simulate the same paths.
EPOCH_SEED_STRIDE = 2**31


@dataclass(frozen=True, eq=False)
class PreparedTraining:
    """The data, scaler and transform for training a recipe.

    Attributes:
        real_series: Series of real prices.
        simulated_series: Simulated paths.
        training_blocks: The four blocks of real and simulated series. The network is fitted to the first one.
        evaluation_blocks: The same blocks without simulated paths, if there are real series.
        scaler: The fitted scikit-learn scaler.
        transform: The transform, which uses the scaler.
        train: Encoded training block.
        validation: Encoded validation block, or None if it is empty.
        resampled: Dataset to fit instead of `train` if the simulated paths are replaced for every epoch, or None.
    """

    real_series: list[Series]
    simulated_series: list[Series]
    training_blocks: Blocks
    evaluation_blocks: Blocks
    scaler: MinMaxScaler | StandardScaler
    transform: Transform
    train: EncodedSamples
    validation: EncodedSamples | None
    resampled: ResampledDataset | None

    def build_network(self, recipe: Recipe) -> keras.Model:
        """Build the untrained network. With the pinball loss, it starts at the quantiles of the training targets."""
        initial_outputs = None
        if recipe.training.loss == "pinball":
            initial_outputs = empirical_quantiles(self.train[1][:, -recipe.horizon :], recipe.quantiles)
        shape, outputs = self.transform.input_shape(recipe.window), recipe.horizon * len(recipe.quantiles)
        return architectures.build_network(recipe.network, shape, outputs, initial_outputs, recipe.horizon)


def prepare_training(recipe: Recipe, print_line: Callable[[str], None]) -> PreparedTraining:
    """Load, split, scale and encode the series of a recipe.

    Args:
        recipe: Recipe to prepare.
        print_line: Prints a line about each real series and about the number of windows.

    Raises:
        DataError: The prices cannot be used.
    """
    real, simulated, test_rows = _load_series(recipe)
    for series in real:
        print_line(f"{series.name}: {len(series.prices)} prices" + "".join(f"; {note}" for note in series.notes))
    training_blocks, evaluation_blocks = split_blocks(
        real, simulated, recipe.split, recipe.window, recipe.horizon, test_rows, recipe.data.synthetic_stride
    )
    _check_blocks(recipe, training_blocks)
    scaler, transform = fit_scaler(recipe, training_blocks.train)
    has_output_per_step = recipe.network.has_output_per_step
    train = encode_samples(transform, training_blocks.train, has_output_per_step)
    validation = None
    if training_blocks.validation:
        validation = encode_samples(transform, training_blocks.validation, has_output_per_step)
    resampled = None
    if simulated and recipe.network.cell != "echo_state":  # an echo state network is solved in a single pass
        resampled = build_resampled_dataset(recipe, transform, evaluation_blocks.train if real else [])
    count = resampled.samples_per_epoch if resampled else len(train[0])
    note = ", with new simulated ones for every epoch" if resampled else ""
    print_line(f"{count} training windows{note}; {len(validation[0]) if validation else 0} validation windows")
    return PreparedTraining(
        real, simulated, training_blocks, evaluation_blocks, scaler, transform, train, validation, resampled
    )


def _load_series(recipe: Recipe) -> tuple[list[Series], list[Series], int | None]:
    """Load the real series, the simulated series, and the number of rows at the end that come from a test file."""
    config = recipe.data
    simulated = []
    if config.synthetic_paths:
        simulated = simulator.simulate_paths(config.synthetic_paths, config.synthetic_length, recipe.seed)
    files = [read_csv(path, config.column) for path in (config.csv, config.test_csv) if path is not None]
    real = files or (load_sample_stocks(config.stocks, config.column) if config.stocks else [])
    transform = build_transform(recipe.transform, Affine(1.0, 0.0))
    for series in real:
        reject_invalid_prices(series, transform)
    if config.test_csv is None:
        return real, simulated, None
    return [concatenate_series(*files)], simulated, len(files[1].prices)


def fit_scaler(recipe: Recipe, train: Sequence[Samples]) -> tuple[MinMaxScaler | StandardScaler, Transform]:
    """Fit the scikit-learn scaler of the recipe's transform on the training block alone.

    Returns:
        The scaler, and the transform that uses it.
    """
    unscaled = build_transform(recipe.transform, Affine(1.0, 0.0))
    scaler = MinMaxScaler() if recipe.transform.kind == "minmax_price" else StandardScaler(with_mean=False)
    for samples in train:
        scaler.partial_fit(unscaled.scaler_training_values(samples.windows, samples.futures))
    return scaler, build_transform(recipe.transform, Affine.from_scaler(scaler))


def encode_samples(transform: Transform, block: Sequence[Samples], has_output_per_step: bool = False) -> EncodedSamples:
    """Encode all samples of a block as network inputs and targets.

    Args:
        transform: Fitted transform.
        block: Samples to encode.
        has_output_per_step: Whether every step of a window has its own targets.

    Returns:
        Inputs (N, T, F), and targets (N, H) or, with outputs per step, (N, T·H).
    """
    encoded = [transform.encode(samples.windows) for samples in block]
    targets = [
        _targets_per_step(transform, samples, each)
        if has_output_per_step
        else transform.encode_targets(samples.futures, each)
        for samples, each in zip(block, encoded, strict=True)
    ]
    return np.concatenate([each.inputs for each in encoded]), np.concatenate(targets)


def _targets_per_step(transform: Transform, samples: Samples, encoded: EncodedWindows) -> F64:
    """Encode the prices after each step of a window as (N, T·H) targets, in the output units of the whole window."""
    prices = np.concatenate([samples.windows, samples.futures], axis=1)  # (N, W + H)
    horizon, window = samples.futures.shape[1], samples.windows.shape[1]
    steps = encoded.inputs.shape[1]
    targets = [
        transform.encode_targets(
            prices[:, last + 1 : last + 1 + horizon], replace(encoded, last_price=prices[:, last, None, None])
        )
        for last in range(window - steps, window)
    ]
    return np.concatenate(targets, axis=1)


def build_resampled_dataset(recipe: Recipe, transform: Transform, real_train: Sequence[Samples]) -> ResampledDataset:
    """Build a dataset of the real training samples and of new simulated samples for every epoch.

    Args:
        recipe: Recipe that describes the simulated paths.
        transform: Fitted transform.
        real_train: Training block of the real series, which may be empty.
    """
    has_output_per_step = recipe.network.has_output_per_step

    def draw(epoch: int) -> list[EncodedSamples]:
        config = recipe.data
        paths = simulator.simulate_paths(
            config.synthetic_paths, config.synthetic_length, recipe.seed + (epoch + 1) * EPOCH_SEED_STRIDE
        )
        train_only = SplitConfig(test=0)
        block = split_by_path(paths, train_only, recipe.window, recipe.horizon, config.synthetic_stride).train
        return [encode_samples(transform, block, has_output_per_step)]

    fixed = [encode_samples(transform, real_train, has_output_per_step)] if real_train else []
    return ResampledDataset(fixed, draw, recipe.training.batch, recipe.training.epochs, recipe.seed)


def _check_blocks(recipe: Recipe, blocks: Blocks) -> None:
    """Reject empty blocks, so that training fails before it starts rather than at its end."""
    if recipe.levels and not blocks.calibration:
        raise DataError("the calibration block", "is empty; increase split.calibration or use more prices")
    if recipe.training.patience and not blocks.validation:
        raise DataError("the validation block", "is empty; increase split.validation or use more prices")


def empirical_quantiles(targets: F64, quantiles: Sequence[float]) -> F64:
    """Return the (H·Q,) quantiles of (N, H) targets, shifted to a median of 0.

    A network with these constant outputs forecasts a random walk.
    """
    found = np.quantile(targets, quantiles, axis=0).T  # (H, Q)
    found -= found[:, len(quantiles) // 2, None]
    return found.reshape(-1)
