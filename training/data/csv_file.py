"""Reads price series from CSV files.

Variations in format that have only one possible meaning are corrected and described in `Series.notes`. Anything
ambiguous is rejected with a `DataError` that names the file and, if possible, the line.
"""

import codecs
import csv
import hashlib
import io
import re
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt

from training.data.series import DataError, Series, read_bytes

_MISSING_PRICES = {"", "null", "na", "n/a", "nan", "-"}
_DATE_COLUMNS = {"date", "datetime", "time", "timestamp"}
_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_PRICE = re.compile(r"[$€£]? *([+-]?((\d+|[1-9]\d{0,2}(,\d{3})+)(\.\d*)?|\.\d+)([eE][+-]?\d+)?)", re.ASCII)
_ISO_DATE = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)?)?", re.ASCII)
_NUMERIC_DATE = re.compile(r"(\d{1,2})([/.-])(\d{1,2})\2(\d{4})", re.ASCII)  # D/M/Y or M/D/Y, also with dots or dashes


def read_csv(path: Path, column: str) -> Series:
    """Read the prices in one column of a CSV file, and their dates if the file has a date column.

    The file is UTF-8, or UTF-16 with a byte order mark. It has a header line and commas, semicolons or tabs between
    fields. The date column is named date, datetime, time or timestamp. Its dates are in one of two formats:

    - ISO 8601. Times with an offset are converted to UTC, times without one are taken as UTC, and fractions of a second
      are dropped.
    - D/M/Y or M/D/Y with a four-digit year, if at least one date of the column shows which of the two applies.

    Args:
        path: CSV file.
        column: Name of the price column. Upper and lower case are ignored unless a column has exactly this name.

    Raises:
        DataError: The file cannot be read, or a price or date is missing, malformed or ambiguous.
    """
    file = path.name or str(path)
    content = read_bytes(path)
    header, rows, delimiter = _parse_table(_decode(content, file), file)
    price_at = _find_column(header, column, file)
    date_at = next((at for at, name in enumerate(header) if name.lower() in _DATE_COLUMNS), None)

    priced = [(line, fields) for line, fields in rows if fields[price_at].strip().lower() not in _MISSING_PRICES]
    notes = [f"{len(rows) - len(priced)} rows dropped because they have no price"] if len(priced) < len(rows) else []
    values = [_parse_price(fields[price_at].strip(), delimiter, f"{file}:{line}") for line, fields in priced]
    prices = np.array(values, dtype=np.float64)  # (N,)
    dates = None
    if date_at is None:
        notes.append("no date column; rows are assumed to be oldest first")
    else:
        dates = _parse_dates([(line, fields[date_at].strip()) for line, fields in priced], file)  # (N,)
        prices, dates, corrections = _sort_by_date(prices, dates, [line for line, _ in priced], file)
        notes += corrections
    if len(prices) < 2:
        raise DataError(file, f"column {header[price_at]!r} has {len(prices)} prices; at least 2 are required")
    source = f"{file}, column {header[price_at]}"
    return Series(path.stem, prices, dates, source, hashlib.sha256(content).hexdigest(), tuple(notes))


def _decode(content: bytes, file: str) -> str:
    """Decode UTF-8, or UTF-16 with a byte order mark."""
    mark, encoding = next((pair for pair in _BOMS if content.startswith(pair[0])), (b"", "utf-8"))
    allowed = "use UTF-8, or UTF-16 with a byte order mark"
    try:
        text = content[len(mark) :].decode(encoding)
    except UnicodeDecodeError as error:
        line_ends = re.findall(r"\r\n?|\n", error.object[: error.start].decode(encoding))
        raise DataError(f"{file}:{len(line_ends) + 1}", f"not {encoding.upper()} text; {allowed}") from error
    if "\0" in text:  # UTF-16 without a byte order mark, or UTF-32
        raise DataError(file, f"contains NUL characters; {allowed}")
    return text


def _parse_table(text: str, file: str) -> tuple[list[str], list[tuple[int, list[str]]], str]:
    """Split the text into fields.

    Returns:
        The column names, the rows that are not blank (line number and fields), and the delimiter of the header line.
    """
    header_line = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = max(",;\t", key=re.sub('"[^"]*"', "", header_line).count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows: list[tuple[int, list[str]]] = []  # the first line of each row in the file, from 1, and the row's fields
    line = 1
    try:
        for fields in reader:
            if any(field.strip() for field in fields):
                rows.append((line, fields))
            line = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{file}:{line}", f"cannot be split into fields ({error})") from error
    if not rows:
        raise DataError(file, "empty; a header line and at least 2 prices are required")

    header_at, fields = rows.pop(0)
    header = [name.strip() for name in fields]
    if all(not name or any(form.fullmatch(name) for form in (_PRICE, _ISO_DATE, _NUMERIC_DATE)) for name in header):
        raise DataError(f"{file}:{header_at}", "has values instead of a header line with column names")
    for line, fields in rows:
        if len(fields) < len(header) or any(field.strip() for field in fields[len(header) :]):
            reason = f"{len(fields)} fields, but the header has {len(header)}"
            raise DataError(f"{file}:{line}", f"{reason}; put prices with thousands commas in double quotes")
    return header, rows, delimiter


def _find_column(header: list[str], column: str, file: str) -> int:
    """Return the index of the only column with this name, preferring an exact match over different case."""
    exact = [at for at, name in enumerate(header) if name == column]
    found = exact or [at for at, name in enumerate(header) if name.lower() == column.strip().lower()]
    if len(found) != 1:
        problem = f"{len(found)} columns are named {column!r}" if found else f"no column {column!r}"
        raise DataError(file, f"{problem}; the columns are {', '.join(header)}")
    return found[0]


def _parse_price(text: str, delimiter: str, place: str) -> float:
    match = _PRICE.fullmatch(text)
    price = float(match[1].replace(",", "")) if match else np.nan
    if match is None or not np.isfinite(price):
        raise DataError(place, f'{text[:40]!r} is not a price; write a finite number such as 1234.5 or "1,234.5"')
    # Files that use a decimal comma are delimited by semicolons, so 1,234 may mean 1.234.
    if delimiter == ";" and match[1].count(",") == 1 and "." not in match[1]:
        raise DataError(place, f"the comma in {text[:40]!r} may separate decimals or thousands; write 1234 or 1.234")
    return price


def _parse_dates(cells: list[tuple[int, str]], file: str) -> npt.NDArray[np.datetime64]:
    """Parse cells of (line, text). At least one date must show the order of day and month, which applies to all."""
    numeric = [(line, match) for line, text in cells if (match := _NUMERIC_DATE.fullmatch(text))]
    day_first = [line for line, match in numeric if int(match[1]) > 12]
    month_first = [line for line, match in numeric if int(match[1]) <= 12 < int(match[3])]
    if day_first and month_first:
        earlier, later = sorted((day_first[0], month_first[0]))
        raise DataError(
            f"{file}:{later}", f"day and month are not in the same order as in line {earlier}; use one order"
        )
    if numeric and not day_first and not month_first:
        raise DataError(file, "dates may be D/M/Y or M/D/Y, and none shows which applies; write them as YYYY-MM-DD")
    moments = [_parse_moment(text, bool(day_first), f"{file}:{line}") for line, text in cells]
    return np.array(moments, dtype="datetime64[s]")  # (N,)


def _parse_moment(text: str, is_day_first: bool, place: str) -> datetime:
    """Parse one date or time as a naive datetime in UTC."""
    iso = text if _ISO_DATE.fullmatch(text) else ""
    if match := _NUMERIC_DATE.fullmatch(text):
        day, month = (match[1], match[3]) if is_day_first else (match[3], match[1])
        iso = f"{match[4]}-{month:0>2}-{day:0>2}"
    try:
        moment = datetime.fromisoformat(iso)
        return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment
    except (ValueError, OverflowError) as error:
        raise DataError(place, f"{text[:40]!r} is not a date; write YYYY-MM-DD, D/M/YYYY or M/D/YYYY") from error


def _sort_by_date(
    prices: npt.NDArray[np.float64], dates: npt.NDArray[np.datetime64], lines: list[int], file: str
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.datetime64], list[str]]:
    """Sort prices and dates, both (N,), and drop repeated rows, so that the dates are strictly increasing.

    Returns:
        The prices, the dates, and notes on the corrections.

    Raises:
        DataError: A date has two different prices.
    """
    notes = ["rows sorted by date, oldest first"] if (dates[1:] < dates[:-1]).any() else []
    order = np.argsort(dates, kind="stable")  # (N,)
    prices, dates = prices[order], dates[order]
    repeated = np.flatnonzero(dates[1:] == dates[:-1]) + 1  # rows with the same date as the row before
    for at in repeated[prices[repeated] != prices[repeated - 1]]:
        line, other = lines[order[at]], lines[order[at - 1]]
        reason = f"price {prices[at]} on {dates[at]}, but line {other} has {prices[at - 1]}; a date has one price"
        raise DataError(f"{file}:{line}", reason)
    if repeated.size:
        notes.append(f"{repeated.size} rows dropped because they repeat a date and its price")
    return np.delete(prices, repeated), np.delete(dates, repeated), notes
