"""`python -m benchmarks.training`: an epoch of the tutorial's recipe, as Pricecast trains it and as plain Keras does.

Both have the same arrays and the same network and take turns, so that a machine that slows down does so for both; the
processor time of this process stands beside the time on the wall, as others may keep the machine busy. Of each turn the
first epoch does not count: Keras traces the network in it.
"""

import argparse
import os
import time
from collections.abc import Callable, Iterable
from typing import Self

import numpy as np
from sklearn.preprocessing import MinMaxScaler

from app.artifact.transform import F32, F64, Affine, build
from benchmarks.measurements import spread
from training.data import blocks, sample_stocks
from training.recipe import Recipe
from training.recipe_files import load_recipe

Turn = Callable[[int], F64]  # epochs to (epochs, 2): seconds of each by the wall and of the processor


class Clock:
    """A display that shows nothing and notes when each epoch began and ended."""

    def __init__(self) -> None:
        self._moments = [now()]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        pass

    def on_batch_end(self, epoch: int, batches_done: int, batches: int) -> None:
        pass

    def on_epoch_end(self, epoch: int, epochs: int, loss: float, validation_loss: float | None) -> None:
        self.tick()

    def tick(self) -> None:
        self._moments.append(now())

    @property
    def epochs_s(self) -> F64:
        return np.diff(self._moments, axis=0)


def now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def samples(recipe: Recipe) -> tuple[F32, F64]:
    """Inputs (N, T, 1) and targets (N, H) of the recipe's training block, scaled as it says."""
    series = sample_stocks.load_sample_stocks(recipe.data.stocks, recipe.data.column)
    parts, _ = blocks.split_blocks(series, [], recipe.split, recipe.window, recipe.horizon)
    block = parts.train[0]
    scaler = MinMaxScaler().fit(block.series.prices[: block.origins[-1] + recipe.horizon + 1, None])
    transform = build(recipe.transform, Affine.of(scaler))
    encoded = transform.encode(block.windows)
    return encoded.inputs, transform.targets(block.futures, encoded)


def ours(recipe: Recipe, train: tuple[F32, F64]) -> Turn:
    from training.fitting.training_loop import fit_network
    from training.networks import architectures

    def turn(epochs: int) -> F64:
        network = architectures.build_network(recipe.network, train[0].shape[1:], train[1].shape[1])
        clock = Clock()
        fit_network(
            network, recipe.training.model_copy(update={"epochs": epochs}), recipe.quantiles, train, None, clock
        )
        return clock.epochs_s

    return turn


def plain(recipe: Recipe, train: tuple[F32, F64]) -> Turn:
    """The same network as one writes it who has only Keras."""
    import keras
    from keras import layers

    def turn(epochs: int) -> F64:
        model = keras.Sequential([keras.Input(train[0].shape[1:])])
        for i, units in enumerate(recipe.network.units):
            model.add(layers.LSTM(units, return_sequences=i < len(recipe.network.units) - 1))
            model.add(layers.Dropout(recipe.network.dropout))
        model.add(layers.Dense(train[1].shape[1]))
        model.compile(optimizer="adam", loss="mean_squared_error")
        clock = Clock()
        tick = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: clock.tick())
        model.fit(*train, epochs=epochs, batch_size=recipe.training.batch, verbose=0, callbacks=[tick])
        return clock.epochs_s

    return turn


def said(values: Iterable[float], unit: str) -> str:
    found = spread(values)
    assert found is not None
    return f"{found.median:.3f}{unit} ({found.low:.3f} to {found.high:.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=4, help="in a turn, beside the one that does not count")
    parser.add_argument("--limit", type=float, default=220.0, help="seconds; no round begins that would last longer")
    asked = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

    recipe = load_recipe("tutorial")
    train = samples(recipe)
    turns = {"Pricecast": ours(recipe, train), "plain Keras": plain(recipe, train)}
    batch = recipe.training.batch
    print(f"{len(train[0])} windows, batches of {batch}, LSTM {recipe.network.units}, dropout {recipe.network.dropout}")

    began = time.perf_counter()
    epochs_s: dict[str, list[F64]] = {name: [] for name in turns}  # by turn
    rounds, round_s = 0, 0.0
    while rounds < asked.rounds and (round_began := time.perf_counter()) - began + round_s < asked.limit:
        for name in sorted(turns, reverse=rounds % 2 == 1):  # who goes first takes turns too
            epochs_s[name].append(turns[name](1 + asked.epochs)[1:])
        rounds, round_s = rounds + 1, time.perf_counter() - round_began
    for column, clock in enumerate(("by the wall", "of the processor")):
        medians = {name: [float(np.median(turn[:, column])) for turn in each] for name, each in epochs_s.items()}
        for name, each in epochs_s.items():
            print(f"{name:12} {said(np.concatenate(each)[:, column], ' s')} an epoch {clock}")
        ratios = [own / other for own, other in zip(*(medians[name] for name in turns), strict=True)]
        print(f"Pricecast takes {said(ratios, ' ×')} the time of plain Keras {clock}, in {rounds} rounds")


if __name__ == "__main__":
    main()
