"""Price series, and the error for price data that cannot be used."""

from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import numpy.typing as npt

from app.artifact.transform import Transform


class DataError(Exception):
    """Price data that cannot be used.

    Args:
        place: The file, with the line if it is known ("prices.csv" or "prices.csv:17"), or the series.
        reason: The problem, and how to solve it.
    """

    def __init__(self, place: str, reason: str) -> None:
        super().__init__(place, reason)

    def __str__(self) -> str:
        return ": ".join(self.args)


@dataclass(frozen=True, eq=False)
class Series:
    """One price series and its provenance.

    Attributes:
        name: The name of the instrument or of the file.
        prices: Finite prices, oldest first.
        dates: Strictly increasing UTC dates, or None if the source has no dates.
        source: The file and the column, without directories.
        sha256: The SHA-256 digest of the file, or of the bytes of `prices` if there is no file.
        notes: Corrections made while reading the source, one phrase each.
    """

    name: str
    prices: npt.NDArray[np.float64]  # (N,)
    dates: npt.NDArray[np.datetime64] | None  # (N,)
    source: str
    sha256: str
    notes: tuple[str, ...] = ()


def reject_invalid_prices(series: Series, transform: Transform) -> None:
    """Raise DataError for the first price that the transform does not accept."""
    for _, index, reason in transform.invalid_prices(series.prices[None]):
        raise DataError(f"{series.name}, price {index + 1}", reason)


def concatenate_series(before: Series, after: Series) -> Series:
    """Join two series into one that has the name of the first and the provenance of both.

    Raises:
        DataError: The second series begins before the first one ends.
    """
    dates = None
    if before.dates is not None and after.dates is not None:
        if after.dates[0] <= before.dates[-1]:
            raise DataError(after.source, f"begins before {before.source} ends; a test file must follow it")
        dates = np.concatenate([before.dates, after.dates])
    return replace(
        before,
        prices=np.concatenate([before.prices, after.prices]),
        dates=dates,
        source=f"{before.source}; {after.source}",
        sha256=sha256((before.sha256 + after.sha256).encode()).hexdigest(),
        notes=before.notes + after.notes,
    )


def read_bytes(path: Path) -> bytes:
    """Read a file.

    Raises:
        DataError: The file cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(path.name or str(path), f"cannot be read ({error.strerror})") from error
