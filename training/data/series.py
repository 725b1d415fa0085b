"""Price series, and the error for price history that cannot be used."""

from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import numpy.typing as npt

from app.artifact.transform import Transform


class DataError(Exception):
    """Price history that cannot be used: the place ("prices.csv:17" or "prices.csv") and the reason."""

    def __init__(self, place: str, reason: str) -> None:
        super().__init__(place, reason)

    def __str__(self) -> str:
        return ": ".join(self.args)


@dataclass(frozen=True, eq=False)
class Series:
    """One price series and its provenance.

    The prices are finite and oldest first; the dates are UTC and strictly increasing, or None where there is no
    calendar. `source` names the file and the column, never a directory. `sha256` is of the file as read, or of the
    price bytes where there is no file. `notes` says what was tidied while reading.
    """

    name: str
    prices: npt.NDArray[np.float64]  # (N,)
    dates: npt.NDArray[np.datetime64] | None  # (N,)
    source: str
    sha256: str
    notes: tuple[str, ...] = ()


def reject_invalid_prices(series: Series, transform: Transform) -> None:
    """Raises DataError for the first price that the transform cannot take, naming it."""
    for _, index, reason in transform.invalid_prices(series.prices[None]):
        raise DataError(f"{series.name}, price {index + 1}", reason)


def concatenate_series(before: Series, after: Series) -> Series:
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
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(path.name or str(path), f"cannot be read ({error.strerror})") from error
