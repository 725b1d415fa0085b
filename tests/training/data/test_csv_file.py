"""Reading CSV files: accepted formats, corrections, and errors that name the file and the line."""

import hashlib
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.data.csv_file import read_csv
from training.data.series import DataError, Series


def read(folder: Path, content: str | bytes, column: str = "Close") -> Series:
    """Read a file `prices.csv` with this content."""
    path = folder / "prices.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_csv(path, column)


def rejection(folder: Path, content: str | bytes, column: str = "Close") -> str:
    """The error message for that file."""
    with pytest.raises(DataError) as caught:
        read(folder, content, column)
    return str(caught.value)


def iso_dates(series: Series) -> list[str]:
    assert series.dates is not None
    assert series.dates.dtype == np.dtype("datetime64[s]")
    return [str(moment) for moment in series.dates.astype("datetime64[D]")]


def iso_moments(series: Series) -> list[str]:
    assert series.dates is not None
    return [str(moment) for moment in series.dates]


# Accepted files


def test_read_csv_plain_file(tmp_path: Path) -> None:
    content = "Date,Open,Close\n2024-01-02,1,10.5\n2024-01-03,2,11\n"
    series = read(tmp_path, content)
    assert series.name == "prices"
    assert series.prices.tolist() == [10.5, 11.0]
    assert iso_dates(series) == ["2024-01-02", "2024-01-03"]
    assert series.source == "prices.csv, column Close"
    assert series.sha256 == hashlib.sha256(content.encode()).hexdigest()
    assert series.notes == ()


@pytest.mark.parametrize(
    ("mark", "encoding"),
    [(b"", "utf-8"), (b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be")],
)
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_read_csv_any_encoding_and_line_end(tmp_path: Path, mark: bytes, encoding: str, line_end: str) -> None:
    text = line_end.join(["Date,Clôture", "2024-01-02,€1", "2024-01-03,2", ""])
    series = read(tmp_path, mark + text.encode(encoding), "Clôture")
    assert series.prices.tolist() == [1.0, 2.0]
    assert iso_dates(series) == ["2024-01-02", "2024-01-03"]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_read_csv_delimiter_comes_from_the_header(tmp_path: Path, delimiter: str) -> None:
    lines = ['Date|"High, low; or\tmid"|Close', '2024-01-02|"1,000,000.5"|10', "2024-01-03|1|11"]
    series = read(tmp_path, "\n".join(lines).replace("|", delimiter))
    assert series.prices.tolist() == [10.0, 11.0]


@pytest.mark.parametrize(
    ("written", "price"),
    [
        ('"1,234.5"', 1234.5),
        ('"12,345,678"', 12345678.0),
        ("$12.5", 12.5),
        ('"£ 1,000"', 1000.0),
        ("€.5", 0.5),
        ("  7  ", 7.0),
        ("1.5e-05", 1.5e-05),
        ("0", 0.0),
        ("-3.25", -3.25),
    ],
)
def test_read_csv_price_formats(tmp_path: Path, written: str, price: float) -> None:
    assert read(tmp_path, f"Close\n1\n{written}\n").prices.tolist() == [1.0, price]


def test_read_csv_column_exact_name_before_case_insensitive(tmp_path: Path) -> None:
    content = "Date,close, Close ,Adj Close\n2024-01-02,1,2,3\n2024-01-03,4,5,6\n"
    assert read(tmp_path, content, "close").prices.tolist() == [1.0, 4.0]
    assert read(tmp_path, content, "Close").prices.tolist() == [2.0, 5.0]
    assert read(tmp_path, content, " ADJ close").source == "prices.csv, column Adj Close"


def test_read_csv_without_date_column_keeps_file_order(tmp_path: Path) -> None:
    series = read(tmp_path, "Day,Close\n2024-01-03,2\n2024-01-02,1\n")
    assert series.dates is None
    assert series.prices.tolist() == [2.0, 1.0]
    assert series.notes == ("no date column; rows are assumed to be oldest first",)


def test_read_csv_drops_and_counts_rows_without_price(tmp_path: Path) -> None:
    blanks = ["", "null", "NA", "n/a", "NaN", " - "]
    lines = [f"2024-02-{day:02d},{blank}" for day, blank in enumerate(blanks, start=1)]
    series = read(tmp_path, "\n".join(["Date,Close", "2024-01-02,1", *lines, "2024-03-01,2"]))
    assert series.prices.tolist() == [1.0, 2.0]
    assert iso_dates(series) == ["2024-01-02", "2024-03-01"]
    assert series.notes == ("6 rows dropped because they have no price",)


def test_read_csv_skips_blank_lines(tmp_path: Path) -> None:
    series = read(tmp_path, "\n\nDate,Close\n\n2024-01-02,1\n , \n2024-01-03,2\n\n")
    assert series.prices.tolist() == [1.0, 2.0]
    assert series.notes == ()


def test_read_csv_ignores_a_trailing_delimiter(tmp_path: Path) -> None:
    assert read(tmp_path, "Date,Close\n2024-01-02,1,\n2024-01-03,2,\n").prices.tolist() == [1.0, 2.0]


@pytest.mark.parametrize("order", [[3, 2, 1], [2, 3, 1]], ids=["newest first", "unsorted"])
def test_read_csv_sorts_rows_oldest_first(tmp_path: Path, order: list[int]) -> None:
    series = read(tmp_path, "\n".join(["Date,Close", *(f"2024-01-{day:02d},{day}" for day in order)]))
    assert series.prices.tolist() == [1.0, 2.0, 3.0]
    assert iso_dates(series) == ["2024-01-01", "2024-01-02", "2024-01-03"]
    assert series.notes == ("rows sorted by date, oldest first",)


def test_read_csv_drops_repeated_rows(tmp_path: Path) -> None:
    series = read(tmp_path, "Date,Close\n2024-01-03,2\n2024-01-02,1\n2024-01-03,2.0\n2024-01-03,2\n")
    assert series.prices.tolist() == [1.0, 2.0]
    assert iso_dates(series) == ["2024-01-02", "2024-01-03"]
    assert series.notes == (
        "rows sorted by date, oldest first",
        "2 rows dropped because they repeat a date and its price",
    )


@pytest.mark.parametrize("column", ["date", "DateTime", " TIME", "Timestamp"])
def test_read_csv_date_column_names(tmp_path: Path, column: str) -> None:
    assert iso_dates(read(tmp_path, f"Close,{column}\n1,2024-01-02\n2,2024-01-03\n")) == ["2024-01-02", "2024-01-03"]


@pytest.mark.parametrize(
    ("written", "moment"),
    [
        ("2024-03-31T09:30", "2024-03-31T09:30:00"),
        ("2024-03-31 09:30:15.000", "2024-03-31T09:30:15"),
        ("2024-03-31T09:30:15Z", "2024-03-31T09:30:15"),
        ("2024-03-31T00:30:00+02:00", "2024-03-30T22:30:00"),
        ("2024-03-31 20:30:00-0500", "2024-04-01T01:30:00"),
    ],
)
def test_read_csv_converts_iso_times_to_utc(tmp_path: Path, written: str, moment: str) -> None:
    assert iso_moments(read(tmp_path, f"Date,Close\n2024-01-02,1\n{written},2\n")) == ["2024-01-02T00:00:00", moment]


@pytest.mark.parametrize("mark", ["/", "-", "."])
def test_read_csv_infers_day_and_month_order_from_the_column(tmp_path: Path, mark: str) -> None:
    day_first = "Date,Close\n1/2/2024,1\n13/2/2024,2\n".replace("/", mark)
    assert iso_dates(read(tmp_path, day_first)) == ["2024-02-01", "2024-02-13"]
    month_first = "Date,Close\n1/2/2024,1\n01/13/2024,2\n".replace("/", mark)
    assert iso_dates(read(tmp_path, month_first)) == ["2024-01-02", "2024-01-13"]


# Rejected files


@pytest.mark.parametrize(
    "written",
    ['"1,23,4"', '"1.234,5"', '"0,123"', '"1234,567"', "abc", "12 USD", "1 234", "1_000", "inf", "-Infinity", "1e999"],
)
def test_read_csv_malformed_price_is_rejected(tmp_path: Path, written: str) -> None:
    assert rejection(tmp_path, f"Date,Close\n2024-01-02,1\n\n2024-01-03,{written}\n").startswith(
        f"prices.csv:4: {written.strip(chr(34))!r} is not a price; write a finite number such as"
    )


def test_read_csv_single_comma_with_semicolons_is_ambiguous(tmp_path: Path) -> None:
    assert rejection(tmp_path, "Date;Close\n2024-01-02;1.5\n2024-01-03;1,234\n") == (
        "prices.csv:3: the comma in '1,234' may separate decimals or thousands; write 1234 or 1.234"
    )
    assert read(tmp_path, "Date;Close\n2024-01-02;1,234.5\n2024-01-03;1,234,567\n").prices[0] == 1234.5


def test_read_csv_unquoted_thousands_comma_is_rejected(tmp_path: Path) -> None:
    assert rejection(tmp_path, "Date,Close\n2024-01-02,1,234.5\n") == (
        "prices.csv:2: 3 fields, but the header has 2; put prices with thousands commas in double quotes"
    )


def test_read_csv_too_few_fields_are_rejected(tmp_path: Path) -> None:
    found = rejection(tmp_path, "Date,Open,Close\n2024-01-02,1,2\n2024-01-03,1\n")
    assert found.startswith("prices.csv:3: 2 fields, but the header has 3;")


def test_read_csv_error_line_matches_an_editor(tmp_path: Path) -> None:
    content = 'Date,Note,Close\r\n2024-01-02,"two\r\nlines",1\r\n\r\n2024-01-03,,x\r\n'
    assert rejection(tmp_path, content).startswith("prices.csv:5: 'x' is not a price")


def test_read_csv_unclosed_quote_names_the_first_line(tmp_path: Path) -> None:
    found = rejection(tmp_path, 'Date,Close\n2024-01-02,1\n2024-01-03,"2\n2024-01-04,3\n')
    assert found.startswith("prices.csv:3: cannot be split into fields (")


def test_read_csv_unknown_column_lists_the_columns(tmp_path: Path) -> None:
    content = "Date,Open,High\n2024-01-02,1,2\n"
    assert rejection(tmp_path, content) == "prices.csv: no column 'Close'; the columns are Date, Open, High"


def test_read_csv_duplicate_column_is_rejected(tmp_path: Path) -> None:
    for column in ("Close", "close"):
        found = rejection(tmp_path, "Date,Close,Close\n2024-01-02,1,2\n", column)
        assert found == f"prices.csv: 2 columns are named {column!r}; the columns are Date, Close, Close"


def test_read_csv_two_prices_for_a_date_name_both_lines(tmp_path: Path) -> None:
    assert rejection(tmp_path, "Date,Close\n2024-01-03,2\n2024-01-02,1\n2024-01-03,2.5\n") == (
        "prices.csv:4: price 2.5 on 2024-01-03T00:00:00, but line 2 has 2.0; a date has one price"
    )


def test_read_csv_ambiguous_day_and_month_are_rejected(tmp_path: Path) -> None:
    assert rejection(tmp_path, "Date,Close\n1/2/2024,1\n2/2/2024,2\n") == (
        "prices.csv: dates may be D/M/Y or M/D/Y, and none shows which applies; write them as YYYY-MM-DD"
    )


@pytest.mark.parametrize("dates", [["13/1/2024", "1/14/2024"], ["1/14/2024", "13/1/2024"]])
def test_read_csv_mixed_day_and_month_order_is_rejected(tmp_path: Path, dates: list[str]) -> None:
    rows = "\n".join(f"{each},1" for each in ["2/1/2024", *dates])
    found = rejection(tmp_path, f"Date,Close\n{rows}\n")
    assert found == "prices.csv:4: day and month are not in the same order as in line 3; use one order"


@pytest.mark.parametrize(
    "written",
    [
        "",
        "soon",
        "20240103",
        "2024-W01-3",
        "2024-02-30",
        "2024-01-03T25:00",
        "30/2/2024",
        "13/13/2024",
        "13/1/24",
        "13/1-2024",
        "0001-01-01T00:00+01:00",
    ],
)
def test_read_csv_malformed_date_is_rejected(tmp_path: Path, written: str) -> None:
    assert rejection(tmp_path, f"Date,Close\n31/1/2024,1\n{written},2\n") == (
        f"prices.csv:3: {written!r} is not a date; write YYYY-MM-DD, D/M/YYYY or M/D/YYYY"
    )


@pytest.mark.parametrize("content", ["", "\ufeff", "\n \n\n", '"",""\n'])
def test_read_csv_empty_file_is_rejected(tmp_path: Path, content: str) -> None:
    assert rejection(tmp_path, content) == "prices.csv: empty; a header line and at least 2 prices are required"


@pytest.mark.parametrize(
    ("rows", "count"),
    [("", 0), ("2024-01-02,1\n", 1), ("2024-01-02,-\n2024-01-03,\n", 0), ("2024-01-02,1\n2024-01-02,1\n", 1)],
    ids=["header only", "one price", "no price", "one date"],
)
def test_read_csv_fewer_than_two_prices_are_rejected(tmp_path: Path, rows: str, count: int) -> None:
    found = rejection(tmp_path, f"Date,Close\n{rows}")
    assert found == f"prices.csv: column 'Close' has {count} prices; at least 2 are required"


@pytest.mark.parametrize("first_line", ["325.25,331.27", "1/3/2012,$325.25", '2012-01-03,"1,325.25"'])
def test_read_csv_missing_header_is_rejected(tmp_path: Path, first_line: str) -> None:
    found = rejection(tmp_path, f"\n{first_line}\n{first_line}\n")
    assert found == "prices.csv:2: has values instead of a header line with column names"


def test_read_csv_undecodable_bytes_name_the_line(tmp_path: Path) -> None:
    allowed = "use UTF-8, or UTF-16 with a byte order mark"
    latin = "Date,Close\r\n2024-01-02,1\r\n2024-01-03,£2\r\n".encode("latin-1")
    assert rejection(tmp_path, latin) == f"prices.csv:3: not UTF-8 text; {allowed}"
    cut_short = b"\xff\xfe" + "Date,Close\n2024".encode("utf-16-le")[:-1]
    assert rejection(tmp_path, cut_short) == f"prices.csv:2: not UTF-16-LE text; {allowed}"
    unmarked = "Date,Close\n".encode("utf-16-le")
    assert rejection(tmp_path, unmarked) == f"prices.csv: contains NUL characters; {allowed}"


def test_read_csv_unreadable_file_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=r"^absent\.csv: cannot be read \(No such file or directory\)$"):
        read_csv(tmp_path / "absent.csv", "Close")
    with pytest.raises(DataError, match=r"cannot be read \("):
        read_csv(tmp_path, "Close")

    def deny(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", deny)
    with pytest.raises(DataError, match=r"^prices\.csv: cannot be read \(Permission denied\)$"):
        read_csv(tmp_path / "prices.csv", "Close")


# Round trip


@settings(max_examples=60, deadline=None)
@given(
    cents=st.lists(st.integers(-(10**11), 10**11), min_size=2, max_size=30),
    start=st.dates(date(1900, 1, 1), date(2100, 1, 1)),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    delimiter=st.sampled_from([",", ";", "\t"]),
    line_end=st.sampled_from(["\n", "\r\n"]),
    choices=st.data(),
)
def test_read_csv_round_trip(
    tmp_path_factory: pytest.TempPathFactory,
    cents: list[int],
    start: date,
    encoding: str,
    delimiter: str,
    line_end: str,
    choices: st.DataObject,
) -> None:
    prices = [each / 100 for each in cents]
    calendar = [(start + timedelta(days=number)).isoformat() for number in range(len(prices))]
    rows = [f'{day}{delimiter}"{price:,.2f}"' for day, price in zip(calendar, prices, strict=True)]
    lines = [f"Date{delimiter}Close", *choices.draw(st.permutations(rows)), ""]
    path = tmp_path_factory.getbasetemp() / "round-trip.csv"
    path.write_bytes(line_end.join(lines).encode(encoding))

    series = read_csv(path, "Close")
    assert series.prices.tolist() == prices
    assert iso_dates(series) == calendar
