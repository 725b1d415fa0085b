"""What a run learns from: fitted on the training block alone, every step with its own targets, paths drawn anew."""

import re
from dataclasses import replace

import numpy as np
import pytest

from tests.training.conftest import daily_dates, make_series, quick_recipe, random_walk_series
from training.data import series, simulator
from training.data.blocks import split_blocks
from training.data.series import Series
from training.fitting import preparation
from training.fitting.resampled_dataset import ResampledDataset


def test_the_scaler_and_the_training_rows_do_not_know_what_comes_after_them() -> None:
    """Other prices after the training block change nothing that is fitted on it."""
    for name in ("quick", "quick-tutorial"):
        wanted = quick_recipe(name)
        fitted = []
        for factor in (1.0, 50.0):
            series = random_walk_series()
            last = round(wanted.split.train * 1000) - (wanted.window + wanted.horizon)
            series.prices[last:] *= factor
            blocks, _ = split_blocks([series], [], wanted.split, wanted.window, wanted.horizon)
            _, transform = preparation.fit_scaler(wanted, blocks.train)
            fitted.append((transform, preparation.encode(transform, blocks.train)))
        (one, (inputs, targets)), (other, (other_inputs, other_targets)) = fitted
        assert one == other or vars(one) == vars(other)
        assert (inputs == other_inputs).all()
        assert (targets == other_targets).all()


def test_the_minmax_scaler_spans_the_whole_training_block() -> None:
    wanted = quick_recipe("quick-tutorial")
    series = random_walk_series()
    blocks, _ = split_blocks([series], [], wanted.split, wanted.window, wanted.horizon)
    scaler, _ = preparation.fit_scaler(wanted, blocks.train)
    rows = series.prices[: 800 - 21]
    assert float(scaler.data_min_[0]) == rows.min()
    assert float(scaler.data_max_[0]) == rows.max()


def test_the_start_is_the_empirical_quantiles_around_a_median_of_zero() -> None:
    targets = np.random.default_rng(1).normal(0.3, 2.0, (20_000, 2)) * [1.0, 3.0]
    start_at = preparation.empirical_quantiles(targets, [0.1, 0.5, 0.9]).reshape(2, 3)
    assert start_at[:, 1].tolist() == [0, 0]
    assert start_at[0] == pytest.approx([-2.563, 0, 2.563], abs=0.1)
    assert start_at[1] == pytest.approx(3 * start_at[0], abs=0.3)


@pytest.mark.parametrize("name", ["quick", "quick-tutorial"])
def test_every_step_of_a_window_has_its_own_targets(name: str) -> None:
    """The last those of the window; the others what came after them, in its units."""
    wanted = quick_recipe(name, horizon=3)
    blocks, _ = split_blocks([random_walk_series(300)], [], wanted.split, wanted.window, wanted.horizon)
    _, transform = preparation.fit_scaler(wanted, blocks.train)
    (samples,) = blocks.train
    inputs, targets = preparation.encode(transform, blocks.train)
    _, every = preparation.encode(transform, blocks.train, every=True)
    steps = every.reshape(len(inputs), inputs.shape[1], 3)
    assert (steps[:, -1] == targets).all()
    encoded = transform.encode(samples.windows)
    for back in (1, 2, 7):
        outputs = steps[:, -1 - back][:, :, None]
        price = samples.windows[:, -1 - back, None, None]
        prices = np.concatenate([samples.windows, samples.futures], axis=1)
        came = prices[:, wanted.window - back : wanted.window - back + 3]
        assert transform.decode(outputs, replace(encoded, price=price))[:, :, 0] == pytest.approx(came)


def numbers_of(batches: ResampledDataset) -> list[set[bytes]]:
    """The inputs of each epoch, as a set."""
    epochs = []
    for _ in range(3):
        batches.on_epoch_begin()
        epochs.append({row.tobytes() for index in range(len(batches)) for row in batches[index][0]})
        batches.on_epoch_end()
    return epochs


@pytest.mark.parametrize("of_a_market", [True, False], ids=["beside a market", "alone"])
def test_simulated_paths_are_drawn_anew_for_each_epoch(of_a_market: bool) -> None:
    wanted = quick_recipe(training={"epochs": 3, "batch": 1})
    data_of = wanted.data
    market = [random_walk_series(300)] if of_a_market else []
    simulated = simulator.simulate_paths(data_of.synthetic_paths, data_of.synthetic_length, wanted.seed)
    blocks, judged = split_blocks(market, simulated, wanted.split, wanted.window, wanted.horizon)
    _, transform = preparation.fit_scaler(wanted, blocks.train)
    first = {row.tobytes() for row in preparation.encode(transform, blocks.train)[0]}
    kept = {row.tobytes() for row in preparation.encode(transform, judged.train)[0]} if market else set()

    epochs = numbers_of(preparation.resampled_dataset(wanted, transform, judged.train if market else []))
    per_path = len(range(0, 120 - 20 - 2 + 1, 3))
    for epoch in epochs:
        assert kept <= epoch
        assert len(epoch - kept) == 6 * per_path
        assert not (epoch - kept) & first  # nor are those for validation, calibration or test among them
    assert epochs[0] & epochs[1] == epochs[1] & epochs[2] == epochs[0] & epochs[2] == kept
    assert epochs == numbers_of(preparation.resampled_dataset(wanted, transform, judged.train if market else []))
    other = preparation.resampled_dataset(
        wanted.model_copy(update={"seed": 2}), transform, judged.train if market else []
    )
    assert numbers_of(other)[0] & epochs[0] == kept


def test_two_files_are_joined_as_one_series_with_both_in_its_provenance() -> None:
    before = Series("before", np.array([1.0, 2.0]), daily_dates("2001-01-01", 2), "before.csv", "a" * 64, ("tidied",))
    after = Series("after", np.array([3.0, 4.0]), daily_dates("2001-02-01", 2), "after.csv", "b" * 64, ("sorted",))
    joined = series.concatenate_series(before, after)
    assert (joined.name, joined.source, joined.notes) == ("before", "before.csv; after.csv", ("tidied", "sorted"))
    assert joined.prices.tolist() == [1, 2, 3, 4]
    assert joined.dates is not None
    assert joined.dates.tolist() == [*daily_dates("2001-01-01", 2).tolist(), *daily_dates("2001-02-01", 2).tolist()]
    assert joined.sha256 not in (before.sha256, after.sha256)
    assert re.fullmatch("[0-9a-f]{64}", joined.sha256)
    assert (
        joined.sha256
        != series.concatenate_series(before, Series("after", after.prices, after.dates, "", "c" * 64)).sha256
    )


@pytest.mark.parametrize("undated", ["before", "after", "both"])
def test_files_of_which_one_has_no_dates_are_joined_without(undated: str) -> None:
    before = make_series([1.0, 2.0], dates=None if undated != "after" else daily_dates("2005-01-01", 2))
    after = make_series([3.0, 4.0], dates=None if undated != "before" else daily_dates("2001-01-01", 2))
    joined = series.concatenate_series(before, after)
    assert joined.dates is None
    assert joined.prices.tolist() == [1, 2, 3, 4]
