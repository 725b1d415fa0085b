"""Daily series of `arch`, for evaluation only: no recipe trains on them."""

import hashlib
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version

import numpy as np

from training.data.series import DataError, Series

UNSEEN = {  # the column of each; no recipe trains on them
    "sp500": "Adj Close",  # S&P 500, 1999-2018
    "nasdaq": "Adj Close",  # Nasdaq Composite, 1999-2018
    "wti": "DCOILWTICO",  # crude oil at Cushing, in US dollars, 1986-2019
    "vix": "vix",  # expected volatility of the S&P 500, in percent, 2014-2019: not a price, and far from a random walk
}


def unseen_series(names: Sequence[str] = tuple(UNSEEN)) -> list[Series]:
    """The named daily series of `arch`, in the order asked for: for judging only, never for training.

    Rows without a value, or with one that is not positive, are dropped and noted. Raises DataError where the package
    is missing or has no such series.
    """
    if unknown := [name for name in names if name not in UNSEEN]:
        raise DataError("arch.data", f"no series {unknown[0]!r}; there are {', '.join(UNSEEN)}")
    return [_unseen(name) for name in names]


def _unseen(name: str) -> Series:
    try:
        table = import_module(f"arch.data.{name}").load()
        release = version("arch")
    except ImportError:
        raise DataError("arch", "not installed; pip install arch") from None
    column = UNSEEN[name]
    values = table[column].to_numpy(dtype=np.float64)  # (N,)
    dates = table.index.to_numpy().astype("datetime64[s]")  # (N,)
    missing, negative = np.isnan(values), values <= 0
    notes = [
        f"{count} rows {which} dropped"
        for count, which in ((missing.sum(), "without a value"), (negative.sum(), "that are not positive"))
        if count
    ]
    prices, dates = values[~missing & ~negative], dates[~missing & ~negative]
    source = f"arch {release} data.{name}, column {column}"
    return Series(name, prices, dates, source, hashlib.sha256(prices.tobytes()).hexdigest(), tuple(notes))
