"""`python -m benchmarks.training`: an epoch of the tutorial's recipe, as Pricecast trains it and as plain Keras does.

Both have the same arrays and the same network and take turns, so that a machine that slows down does so for both. Of
each turn the first epoch does not count: Keras traces the network in it.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from typing import Self

import numpy as np
from sklearn.preprocessing import MinMaxScaler

from app.artifact.transform import F32, F64, Affine, build
from benchmarks.measurements import Spread, spread
from training import data, split
from training.recipe import Recipe, load

Turn = Callable[[int], list[float]]  # epochs to seconds of each


class Clock:
    """A display that shows nothing and notes when each epoch began and ended."""

    def __init__(self) -> None:
        self.moments = [time.perf_counter()]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        pass

    def batch(self, epoch: int, done: int, batches: int) -> None:
        pass

    def epoch(self, epoch: int, epochs: int, loss: float, validation: float | None) -> None:
        self.moments.append(time.perf_counter())

    @property
    def epochs_s(self) -> list[float]:
        return np.diff(self.moments).tolist()


def samples(recipe: Recipe) -> tuple[F32, F64]:
    """Inputs (N, T, 1) and targets (N, H) of the recipe's training block, scaled as it says."""
    series = data.stocks(recipe.data.stocks, recipe.data.column)
    blocks, _ = split.blocks(series, [], recipe.split, recipe.window, recipe.horizon)
    block = blocks.train[0]
    scaler = MinMaxScaler().fit(block.series.prices[: block.origins[-1] + recipe.horizon + 1, None])
    transform = build(recipe.transform, Affine.of(scaler))
    encoded = transform.encode(block.windows)
    return encoded.inputs, transform.targets(block.futures, encoded)


def ours(recipe: Recipe, train: tuple[F32, F64]) -> Turn:
    from training import networks  # not before it is known how much TensorFlow may say
    from training.fit import fit

    def turn(epochs: int) -> list[float]:
        network = networks.build(recipe.network, train[0].shape[1], train[1].shape[1])
        clock = Clock()
        fit(network, recipe.training.model_copy(update={"epochs": epochs}), recipe.quantiles, train, None, clock)
        return clock.epochs_s

    return turn


def plain(recipe: Recipe, train: tuple[F32, F64]) -> Turn:
    """The same network as one writes it who has only Keras."""
    import keras
    from keras import layers

    def turn(epochs: int) -> list[float]:
        model = keras.Sequential([keras.Input(train[0].shape[1:])])
        for i, units in enumerate(recipe.network.units):
            model.add(layers.LSTM(units, return_sequences=i < len(recipe.network.units) - 1))
            model.add(layers.Dropout(recipe.network.dropout))
        model.add(layers.Dense(train[1].shape[1]))
        model.compile(optimizer="adam", loss="mean_squared_error")
        moments = [time.perf_counter()]
        tick = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: moments.append(time.perf_counter()))
        model.fit(*train, epochs=epochs, batch_size=recipe.training.batch, verbose=0, callbacks=[tick])
        return np.diff(moments).tolist()

    return turn


def said(found: Spread, unit: str) -> str:
    return f"{found.median:.3f}{unit} ({found.low:.3f} to {found.high:.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=4, help="in a turn, beside the one that does not count")
    parser.add_argument("--limit", type=float, default=220.0, help="seconds; no round begins that would last longer")
    asked = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

    recipe = load("tutorial")
    train = samples(recipe)
    turns = {"Pricecast": ours(recipe, train), "plain Keras": plain(recipe, train)}
    batch = recipe.training.batch
    print(f"{len(train[0])} windows, batches of {batch}, LSTM {recipe.network.units}, dropout {recipe.network.dropout}")

    began = time.perf_counter()
    epochs_s: dict[str, list[float]] = {name: [] for name in turns}
    ratios: list[float] = []
    round_s = 0.0
    while len(ratios) < asked.rounds and (round_began := time.perf_counter()) - began + round_s < asked.limit:
        medians = {}
        for name in sorted(turns, reverse=len(ratios) % 2 == 1):  # who goes first takes turns too
            counted = turns[name](1 + asked.epochs)[1:]
            epochs_s[name] += counted
            medians[name] = statistics.median(counted)
        round_s = time.perf_counter() - round_began
        ratios.append(medians["Pricecast"] / medians["plain Keras"])
        print(
            f"round {len(ratios)}: " + ", ".join(f"{name} {middle:.3f} s" for name, middle in medians.items()),
            flush=True,
        )
    for name, counted in epochs_s.items():
        found = spread(counted)
        assert found is not None
        print(f"{name:12} {said(found, ' s')} an epoch, of {len(counted)}")
    ratio = spread(ratios)
    assert ratio is not None
    print(f"Pricecast takes {said(ratio, ' ×')} the time of plain Keras, by {len(ratios)} rounds")


if __name__ == "__main__":
    main()
