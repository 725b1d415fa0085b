"""Price series and where they come from: the pinned sample stocks, a CSV file of the user's own, or, for judging only,
the daily series that come with `arch`.

Whatever cannot be used raises `DataError`, which names the file and, where there is one, the line. What is plain is
tidied and said in `Series.notes`; what could be meant in two ways is refused.
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

_NO_PRICE = {"", "null", "na", "n/a", "nan", "-"}
_DATE_COLUMNS = {"date", "datetime", "time", "timestamp"}
_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_PRICE = re.compile(r"[$€£]? *([+-]?((\d+|[1-9]\d{0,2}(,\d{3})+)(\.\d*)?|\.\d+)([eE][+-]?\d+)?)", re.ASCII)
_ISO_DATE = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)?)?", re.ASCII)
_SLASHED_DATE = re.compile(r"(\d{1,2})([/.-])(\d{1,2})\2(\d{4})", re.ASCII)


def read_csv(path: Path, column: str) -> Series:
    """The prices in one column of a CSV file, and its dates where a column is named date, datetime, time or timestamp.

    The file is UTF-8 or, with a byte order mark, UTF-16; it has a header line, and commas, semicolons or tabs between
    fields. Dates are ISO 8601 (a time with an offset is converted to UTC, one without is taken as it stands, fractions
    of a second are cut) or D/M/Y or M/D/Y with a four-digit year, where the column as a whole must show which.
    Raises DataError where the file cannot be read, or a price or a date in it is missing, malformed or ambiguous.
    """
    file = path.name or str(path)
    content = read_bytes(path)
    header, rows, delimiter = _table(_text(content, file), file)
    price_at = _price_column(header, column, file)
    date_at = next((at for at, name in enumerate(header) if name.lower() in _DATE_COLUMNS), None)

    priced = [(line, fields) for line, fields in rows if fields[price_at].strip().lower() not in _NO_PRICE]
    notes = [f"{len(rows) - len(priced)} rows without a price dropped"] if len(priced) < len(rows) else []
    values = [_price(fields[price_at].strip(), delimiter, f"{file}:{line}") for line, fields in priced]
    prices = np.array(values, dtype=np.float64)  # (N,)
    dates = None
    if date_at is None:
        notes.append("no date column: file order taken as oldest first")
    else:
        dates = _dates([(line, fields[date_at].strip()) for line, fields in priced], file)  # (N,)
        prices, dates, tidied = _in_order(prices, dates, [line for line, _ in priced], file)
        notes += tidied
    if len(prices) < 2:
        raise DataError(file, f"column {header[price_at]!r} has {len(prices)} prices; at least 2 are needed")
    source = f"{file}, column {header[price_at]}"
    return Series(path.stem, prices, dates, source, hashlib.sha256(content).hexdigest(), tuple(notes))


def _text(content: bytes, file: str) -> str:
    mark, encoding = next((pair for pair in _BOMS if content.startswith(pair[0])), (b"", "utf-8"))
    allowed = "allowed are UTF-8, and UTF-16 with a byte order mark"
    try:
        text = content[len(mark) :].decode(encoding)
    except UnicodeDecodeError as error:
        line_ends = re.findall(r"\r\n?|\n", error.object[: error.start].decode(encoding))
        raise DataError(f"{file}:{len(line_ends) + 1}", f"not {encoding.upper()} text; {allowed}") from error
    if "\0" in text:  # what UTF-16 without a mark, or UTF-32, decodes to
        raise DataError(file, f"holds NUL characters; {allowed}")
    return text


def _table(text: str, file: str) -> tuple[list[str], list[tuple[int, list[str]]], str]:
    """The header's names, the rows below it that are not blank, and the delimiter the header shows."""
    header_line = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = max(",;\t", key=re.sub('"[^"]*"', "", header_line).count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows: list[tuple[int, list[str]]] = []  # the line of the file each begins on, from 1, and its fields
    line = 1
    try:
        for fields in reader:
            if any(field.strip() for field in fields):
                rows.append((line, fields))
            line = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{file}:{line}", f"cannot be split into fields ({error})") from error
    if not rows:
        raise DataError(file, "empty; a header line and at least 2 prices are needed")

    header_at, fields = rows.pop(0)
    header = [name.strip() for name in fields]
    if all(not name or any(form.fullmatch(name) for form in (_PRICE, _ISO_DATE, _SLASHED_DATE)) for name in header):
        raise DataError(f"{file}:{header_at}", "has values where a header line with column names is needed")
    for line, fields in rows:
        if len(fields) < len(header) or any(field.strip() for field in fields[len(header) :]):
            reason = f"{len(fields)} fields where the header has {len(header)}"
            raise DataError(f"{file}:{line}", f"{reason}; a price with comma thousands must be in double quotes")
    return header, rows, delimiter


def _price_column(header: list[str], column: str, file: str) -> int:
    exact = [at for at, name in enumerate(header) if name == column]
    found = exact or [at for at, name in enumerate(header) if name.lower() == column.strip().lower()]
    if len(found) != 1:
        problem = f"{len(found)} columns are named {column!r}" if found else f"no column {column!r}"
        raise DataError(file, f"{problem}; the columns are {', '.join(header)}")
    return found[0]


def _price(text: str, delimiter: str, place: str) -> float:
    match = _PRICE.fullmatch(text)
    price = float(match[1].replace(",", "")) if match else np.nan
    if match is None or not np.isfinite(price):
        raise DataError(place, f'{text[:40]!r} is not a price; a finite number such as 1234.5 or "1,234.5" is allowed')
    # Files with semicolons come from places that write decimals with a comma: there 1,234 may be little more than one.
    if delimiter == ";" and match[1].count(",") == 1 and "." not in match[1]:
        raise DataError(place, f"{text[:40]!r} may have a decimal or a thousands comma; write 1234 or 1.234")
    return price


def _dates(cells: list[tuple[int, str]], file: str) -> npt.NDArray[np.datetime64]:
    """The dates in cells of (line, text), the order of day and month being the one that some date shows."""
    slashed = [(line, match) for line, text in cells if (match := _SLASHED_DATE.fullmatch(text))]
    day_first = [line for line, match in slashed if int(match[1]) > 12]
    month_first = [line for line, match in slashed if int(match[1]) <= 12 < int(match[3])]
    if day_first and month_first:
        earlier, later = sorted((day_first[0], month_first[0]))
        raise DataError(f"{file}:{later}", f"day and month are not in the order of line {earlier}; keep to one")
    if slashed and not day_first and not month_first:
        raise DataError(file, "no date shows whether they are D/M/Y or M/D/Y; write them as YYYY-MM-DD")
    moments = [_moment(text, bool(day_first), f"{file}:{line}") for line, text in cells]
    return np.array(moments, dtype="datetime64[s]")  # (N,)


def _moment(text: str, day_first: bool, place: str) -> datetime:
    """The moment in UTC, without an offset of its own."""
    iso = text if _ISO_DATE.fullmatch(text) else ""
    if match := _SLASHED_DATE.fullmatch(text):
        day, month = (match[1], match[3]) if day_first else (match[3], match[1])
        iso = f"{match[4]}-{month:0>2}-{day:0>2}"
    try:
        moment = datetime.fromisoformat(iso)
        return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment
    except (ValueError, OverflowError) as error:
        raise DataError(place, f"{text[:40]!r} is not a date; allowed are ISO 8601, D/M/YYYY and M/D/YYYY") from error


def _in_order(
    prices: npt.NDArray[np.float64], dates: npt.NDArray[np.datetime64], lines: list[int], file: str
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.datetime64], list[str]]:
    """Prices and dates with the dates strictly increasing, and notes of what that took; all of shape (N,)."""
    notes = ["rows sorted by date, oldest first"] if (dates[1:] < dates[:-1]).any() else []
    order = np.argsort(dates, kind="stable")  # (N,)
    prices, dates = prices[order], dates[order]
    repeated = np.flatnonzero(dates[1:] == dates[:-1]) + 1  # rows with the date of the row before
    for at in repeated[prices[repeated] != prices[repeated - 1]]:
        line, other = lines[order[at]], lines[order[at - 1]]
        reason = f"price {prices[at]} on {dates[at]}, but line {other} has {prices[at - 1]}; a date has one price"
        raise DataError(f"{file}:{line}", reason)
    if repeated.size:
        notes.append(f"{repeated.size} rows repeating a date and its price dropped")
    return np.delete(prices, repeated), np.delete(dates, repeated), notes
