"""The sample stocks of `bokeh_sampledata`, pinned to one release."""

import hashlib
from collections.abc import Sequence

import numpy as np

from training.data.series import DataError, Series, read_bytes

STOCKS_VERSION = "2026.1"
STOCKS_SHA256 = (
    "5abadf99b2d394f920120a27de6f0df129859d71d4cfb0bf661bcc99446ab1fd"  # digest of that release's stocks.csv.gz
)
STOCK_NAMES = ("AAPL", "FB", "GOOG", "IBM", "MSFT")
STOCK_COLUMNS = ("open", "high", "low", "close", "adj_close")


def load_sample_stocks(names: Sequence[str], column: str = "adj_close") -> list[Series]:
    """Load daily prices of sample stocks in US dollars, in the order of `names`.

    Raises:
        DataError: The package is missing or is another release, or it has no such stock or column.
    """
    try:
        from bokeh_sampledata import package_path
    except ImportError:
        raise DataError("bokeh_sampledata", f"not installed; pip install bokeh-sampledata=={STOCKS_VERSION}") from None
    path = package_path("stocks.csv.gz")
    sha256 = hashlib.sha256(read_bytes(path)).hexdigest()
    if sha256 != STOCKS_SHA256:
        raise DataError(path.name, f"SHA-256 is {sha256}; bokeh-sampledata=={STOCKS_VERSION} has {STOCKS_SHA256}")
    if unknown := [name for name in names if name not in STOCK_NAMES]:
        raise DataError(path.name, f"no stock {unknown[0]!r}; choose from {', '.join(STOCK_NAMES)}")
    if column not in STOCK_COLUMNS:
        raise DataError(path.name, f"no price column {column!r}; choose from {', '.join(STOCK_COLUMNS)}")
    from bokeh_sampledata import stocks as sample  # imported after the digest check, because the import parses the file

    source = f"bokeh_sampledata {STOCKS_VERSION} {path.name}, column {column}"
    series = []
    for name in names:
        table = getattr(sample, name)
        prices = np.array(table[column], dtype=np.float64)  # (N,)
        dates = np.array(table["date"], dtype="datetime64[s]")  # (N,)
        series.append(Series(name, prices, dates, source, sha256))
    return series
