"""Daily series of the `arch` package, for evaluation only: no recipe trains on them."""

import hashlib
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version

import numpy as np

from training.data.series import DataError, Series

UNSEEN_COLUMNS = {  # column of the values, by name of the series
    "sp500": "Adj Close",  # S&P 500, 1999-2018
    "nasdaq": "Adj Close",  # Nasdaq Composite, 1999-2018
    "wti": "DCOILWTICO",  # crude oil at Cushing, in US dollars, 1986-2019
    "vix": "vix",  # expected volatility of the S&P 500 in percent, 2014-2019: mean-reverting, and not a price
}


def load_unseen_series(names: Sequence[str] = tuple(UNSEEN_COLUMNS)) -> list[Series]:
    """Load daily series of `arch` in the order of `names`, all of them by default.

    Rows without a positive value are dropped and counted in `Series.notes`.

    Raises:
        DataError: The package is missing, or there is no series with one of the names.
    """
    if unknown := [name for name in names if name not in UNSEEN_COLUMNS]:
        raise DataError("arch.data", f"no series {unknown[0]!r}; choose from {', '.join(UNSEEN_COLUMNS)}")
    return [_load(name) for name in names]


def _load(name: str) -> Series:
    try:
        table = import_module(f"arch.data.{name}").load()
        release = version("arch")
    except ImportError:
        raise DataError("arch", "not installed; pip install arch") from None
    column = UNSEEN_COLUMNS[name]
    values = table[column].to_numpy(dtype=np.float64)  # (N,)
    dates = table.index.to_numpy().astype("datetime64[s]")  # (N,)
    is_missing, is_not_positive = np.isnan(values), values <= 0
    notes = [
        f"{count} rows dropped because they have {problem}"
        for count, problem in (
            (is_missing.sum(), "no value"),
            (is_not_positive.sum(), "a value that is not positive"),
        )
        if count
    ]
    is_usable = ~is_missing & ~is_not_positive
    prices, dates = values[is_usable], dates[is_usable]
    source = f"arch {release} data.{name}, column {column}"
    return Series(name, prices, dates, source, hashlib.sha256(prices.tobytes()).hexdigest(), tuple(notes))
