"""Preparation: the scaler uses only the training block, each step has its targets, and paths are resampled."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.training.conftest import RECIPES, daily_dates, make_series
from training.data import simulator
from training.data.series import Series
from training.data.split import split_blocks
from training.fitting import preparation
from training.fitting.resampled_dataset import ResampledDataset
from training.recipe import Recipe
from training.recipe_files import load_recipe


def quick_recipe(name: str = "quick", **overrides: Any) -> Recipe:
    return load_recipe(str(RECIPES / f"{name}.toml"), **overrides)


def random_walk_series(rows: int = 1000) -> Series:
    return make_series(simulator.random_walk(1, rows, 1)[0].prices, "walk", daily_dates("2001-01-01", rows))


def test_fit_scaler_ignores_prices_after_the_training_block() -> None:
    """Different prices after the training block change neither the transform nor the training samples."""
    for name in ("quick", "quick-tutorial"):
        recipe = quick_recipe(name)
        fitted = []
        for factor in (1.0, 50.0):
            series = random_walk_series()
            last = round(recipe.split.train * 1000) - (recipe.window + recipe.horizon)
            series.prices[last:] *= factor
            blocks, _ = split_blocks([series], [], recipe.split, recipe.window, recipe.horizon)
            _, transform = preparation.fit_scaler(recipe, blocks.train)
            fitted.append((transform, preparation.encode_samples(transform, blocks.train)))
        (one, (inputs, targets)), (other, (other_inputs, other_targets)) = fitted
        assert one == other or vars(one) == vars(other)
        assert (inputs == other_inputs).all()
        assert (targets == other_targets).all()


def test_fit_scaler_minmax_spans_the_training_block() -> None:
    recipe = quick_recipe("quick-tutorial")
    series = random_walk_series()
    blocks, _ = split_blocks([series], [], recipe.split, recipe.window, recipe.horizon)
    scaler, _ = preparation.fit_scaler(recipe, blocks.train)
    rows = series.prices[: 800 - 21]
    assert float(scaler.data_min_[0]) == rows.min()
    assert float(scaler.data_max_[0]) == rows.max()


def test_empirical_quantiles_have_a_median_of_zero() -> None:
    targets = np.random.default_rng(1).normal(0.3, 2.0, (20_000, 2)) * [1.0, 3.0]
    initial_outputs = preparation.empirical_quantiles(targets, [0.1, 0.5, 0.9]).reshape(2, 3)
    assert initial_outputs[:, 1].tolist() == [0, 0]
    assert initial_outputs[0] == pytest.approx([-2.563, 0, 2.563], abs=0.1)
    assert initial_outputs[1] == pytest.approx(3 * initial_outputs[0], abs=0.3)


@pytest.mark.parametrize("name", ["quick", "quick-tutorial"])
def test_encode_samples_per_step_has_targets_for_each_step(name: str) -> None:
    """The last step has the window's targets. Earlier steps have the prices after them, in the window's units."""
    recipe = quick_recipe(name, horizon=3)
    blocks, _ = split_blocks([random_walk_series(300)], [], recipe.split, recipe.window, recipe.horizon)
    _, transform = preparation.fit_scaler(recipe, blocks.train)
    (samples,) = blocks.train
    inputs, targets = preparation.encode_samples(transform, blocks.train)
    _, every = preparation.encode_samples(transform, blocks.train, has_output_per_step=True)
    steps = every.reshape(len(inputs), inputs.shape[1], 3)
    assert (steps[:, -1] == targets).all()
    encoded = transform.encode(samples.windows)
    for back in (1, 2, 7):
        outputs = steps[:, -1 - back][:, :, None]
        price = samples.windows[:, -1 - back, None, None]
        prices = np.concatenate([samples.windows, samples.futures], axis=1)
        futures = prices[:, recipe.window - back : recipe.window - back + 3]
        assert transform.decode(outputs, replace(encoded, last_price=price))[:, :, 0] == pytest.approx(futures)


def epoch_inputs(batches: ResampledDataset) -> list[set[bytes]]:
    """The distinct inputs of each of three epochs."""
    epochs = []
    for _ in range(3):
        batches.on_epoch_begin()
        epochs.append({row.tobytes() for index in range(len(batches)) for row in batches[index][0]})
        batches.on_epoch_end()
    return epochs


@pytest.mark.parametrize("has_real", [True, False], ids=["with real series", "alone"])
def test_build_resampled_dataset_new_paths_every_epoch(has_real: bool) -> None:
    recipe = quick_recipe(training={"epochs": 3, "batch": 1})
    real = [random_walk_series(300)] if has_real else []
    simulated = simulator.simulate_paths(recipe.data.synthetic_paths, recipe.data.synthetic_length, recipe.seed)
    blocks, evaluation = split_blocks(real, simulated, recipe.split, recipe.window, recipe.horizon)
    _, transform = preparation.fit_scaler(recipe, blocks.train)
    first = {row.tobytes() for row in preparation.encode_samples(transform, blocks.train)[0]}
    fixed = {row.tobytes() for row in preparation.encode_samples(transform, evaluation.train)[0]} if real else set()

    epochs = epoch_inputs(preparation.build_resampled_dataset(recipe, transform, evaluation.train if real else []))
    per_path = len(range(0, 120 - 20 - 2 + 1, 3))
    for epoch in epochs:
        assert fixed <= epoch
        assert len(epoch - fixed) == 6 * per_path
        assert not (epoch - fixed) & first  # the paths simulated before training are not trained on
    assert epochs[0] & epochs[1] == epochs[1] & epochs[2] == epochs[0] & epochs[2] == fixed
    assert epochs == epoch_inputs(
        preparation.build_resampled_dataset(recipe, transform, evaluation.train if real else [])
    )
    other = preparation.build_resampled_dataset(
        recipe.model_copy(update={"seed": 2}), transform, evaluation.train if real else []
    )
    assert epoch_inputs(other)[0] & epochs[0] == fixed
