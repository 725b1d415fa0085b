"""What `training.data` reads, what it tidies, and what it refuses with file and line."""

import hashlib
import pickle
import sys
from datetime import date, timedelta
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training import recipe
from training.data import sample_stocks as sample_stocks_module
from training.data import unseen_series as unseen_series_module
from training.data.csv_file import read_csv
from training.data.sample_stocks import sample_stocks
from training.data.series import DataError, Series
from training.data.unseen_series import unseen_series


def read(folder: Path, content: str | bytes, column: str = "Close") -> Series:
    """What is read from a file `prices.csv` with these bytes, or this text as UTF-8."""
    path = folder / "prices.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_csv(path, column)


def refusal(folder: Path, content: str | bytes, column: str = "Close") -> str:
    """The message with which that file is refused."""
    with pytest.raises(DataError) as caught:
        read(folder, content, column)
    return str(caught.value)


def days(series: Series) -> list[str]:
    assert series.dates is not None
    assert series.dates.dtype == np.dtype("datetime64[s]")
    return [str(moment) for moment in series.dates.astype("datetime64[D]")]


def seconds(series: Series) -> list[str]:
    assert series.dates is not None
    return [str(moment) for moment in series.dates]


def test_an_error_says_place_and_reason_and_survives_pickling() -> None:
    error = DataError("prices.csv:17", "is odd")
    assert str(error) == str(pickle.loads(pickle.dumps(error))) == "prices.csv:17: is odd"


# Sample sample_stocks


def test_stocks_come_in_the_order_asked_for() -> None:
    series = sample_stocks(["MSFT", "AAPL"])
    assert [each.name for each in series] == ["MSFT", "AAPL"]
    assert [len(each.prices) for each in series] == [3270, 3270]
    assert series[0].source == "bokeh_sampledata 2026.1 stocks.csv.gz, column adj_close"
    assert series[0].sha256 == sample_stocks_module.STOCKS_SHA256
    assert series[0].notes == ()
    assert days(series[0])[0] == "2000-03-01"
    assert days(series[0])[-1] == "2013-03-01"


@pytest.mark.parametrize("column", sample_stocks_module.STOCK_COLUMNS)
def test_every_stock_has_positive_prices_on_increasing_dates(column: str) -> None:
    for series in sample_stocks(sample_stocks_module.STOCK_NAMES, column):
        assert series.prices.dtype == np.float64
        assert series.dates is not None
        assert series.prices.shape == series.dates.shape
        assert np.isfinite(series.prices).all()
        assert (series.prices > 0).all()
        assert (np.diff(series.dates) > np.timedelta64(0, "s")).all()


def test_an_unknown_stock_or_column_lists_what_there_is() -> None:
    with pytest.raises(DataError, match=r"^stocks.csv.gz: no stock 'TSLA'; there are AAPL, FB, GOOG, IBM, MSFT$"):
        sample_stocks(["AAPL", "TSLA"])
    with pytest.raises(
        DataError, match=r"^stocks.csv.gz: no price column 'volume'; there are open, high, low, close, "
    ):
        sample_stocks(["AAPL"], "volume")


def test_other_stock_data_than_the_pinned_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    found = sample_stocks_module.STOCKS_SHA256
    monkeypatch.setattr(sample_stocks_module, "STOCKS_SHA256", "0" * 64)
    with pytest.raises(DataError, match=rf"^stocks.csv.gz: SHA-256 is {found}; bokeh-sampledata==2026.1 has 0000"):
        sample_stocks(["AAPL"])


def test_a_missing_package_names_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bokeh_sampledata", None)
    with pytest.raises(DataError, match=r"pip install bokeh-sampledata==2026\.1$"):
        sample_stocks(["AAPL"])


# CSV files that are read


def test_a_plain_file_is_read_as_it_is(tmp_path: Path) -> None:
    content = "Date,Open,Close\n2024-01-02,1,10.5\n2024-01-03,2,11\n"
    series = read(tmp_path, content)
    assert series.name == "prices"
    assert series.prices.tolist() == [10.5, 11.0]
    assert days(series) == ["2024-01-02", "2024-01-03"]
    assert series.source == "prices.csv, column Close"
    assert series.sha256 == hashlib.sha256(content.encode()).hexdigest()
    assert series.notes == ()


@pytest.mark.parametrize(
    ("mark", "encoding"),
    [(b"", "utf-8"), (b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be")],
)
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_every_encoding_and_line_end_is_read_alike(tmp_path: Path, mark: bytes, encoding: str, line_end: str) -> None:
    text = line_end.join(["Date,Clôture", "2024-01-02,€1", "2024-01-03,2", ""])
    series = read(tmp_path, mark + text.encode(encoding), "Clôture")
    assert series.prices.tolist() == [1.0, 2.0]
    assert days(series) == ["2024-01-02", "2024-01-03"]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_the_header_shows_the_delimiter(tmp_path: Path, delimiter: str) -> None:
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
def test_prices_as_people_write_them(tmp_path: Path, written: str, price: float) -> None:
    assert read(tmp_path, f"Close\n1\n{written}\n").prices.tolist() == [1.0, price]


def test_a_column_is_found_by_exact_name_first_then_by_spelling_alone(tmp_path: Path) -> None:
    content = "Date,close, Close ,Adj Close\n2024-01-02,1,2,3\n2024-01-03,4,5,6\n"
    assert read(tmp_path, content, "close").prices.tolist() == [1.0, 4.0]
    assert read(tmp_path, content, "Close").prices.tolist() == [2.0, 5.0]
    assert read(tmp_path, content, " ADJ close").source == "prices.csv, column Adj Close"


def test_without_a_date_column_the_file_order_holds(tmp_path: Path) -> None:
    series = read(tmp_path, "Day,Close\n2024-01-03,2\n2024-01-02,1\n")
    assert series.dates is None
    assert series.prices.tolist() == [2.0, 1.0]
    assert series.notes == ("no date column: file order taken as oldest first",)


def test_rows_without_a_price_are_dropped_and_counted(tmp_path: Path) -> None:
    blanks = ["", "null", "NA", "n/a", "NaN", " - "]
    lines = [f"2024-02-{day:02d},{blank}" for day, blank in enumerate(blanks, start=1)]
    series = read(tmp_path, "\n".join(["Date,Close", "2024-01-02,1", *lines, "2024-03-01,2"]))
    assert series.prices.tolist() == [1.0, 2.0]
    assert days(series) == ["2024-01-02", "2024-03-01"]
    assert series.notes == ("6 rows without a price dropped",)


def test_blank_lines_are_skipped(tmp_path: Path) -> None:
    series = read(tmp_path, "\n\nDate,Close\n\n2024-01-02,1\n , \n2024-01-03,2\n\n")
    assert series.prices.tolist() == [1.0, 2.0]
    assert series.notes == ()


def test_a_delimiter_at_the_end_of_a_row_is_no_field(tmp_path: Path) -> None:
    assert read(tmp_path, "Date,Close\n2024-01-02,1,\n2024-01-03,2,\n").prices.tolist() == [1.0, 2.0]


@pytest.mark.parametrize("order", [[3, 2, 1], [2, 3, 1]], ids=["newest first", "unsorted"])
def test_rows_are_put_oldest_first(tmp_path: Path, order: list[int]) -> None:
    series = read(tmp_path, "\n".join(["Date,Close", *(f"2024-01-{day:02d},{day}" for day in order)]))
    assert series.prices.tolist() == [1.0, 2.0, 3.0]
    assert days(series) == ["2024-01-01", "2024-01-02", "2024-01-03"]
    assert series.notes == ("rows sorted by date, oldest first",)


def test_a_repeated_date_with_one_price_is_kept_once(tmp_path: Path) -> None:
    series = read(tmp_path, "Date,Close\n2024-01-03,2\n2024-01-02,1\n2024-01-03,2.0\n2024-01-03,2\n")
    assert series.prices.tolist() == [1.0, 2.0]
    assert days(series) == ["2024-01-02", "2024-01-03"]
    assert series.notes == ("rows sorted by date, oldest first", "2 rows repeating a date and its price dropped")


@pytest.mark.parametrize("column", ["date", "DateTime", " TIME", "Timestamp"])
def test_date_columns_by_name(tmp_path: Path, column: str) -> None:
    assert days(read(tmp_path, f"Close,{column}\n1,2024-01-02\n2,2024-01-03\n")) == ["2024-01-02", "2024-01-03"]


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
def test_iso_times_are_utc(tmp_path: Path, written: str, moment: str) -> None:
    assert seconds(read(tmp_path, f"Date,Close\n2024-01-02,1\n{written},2\n")) == ["2024-01-02T00:00:00", moment]


@pytest.mark.parametrize("mark", ["/", "-", "."])
def test_the_whole_column_shows_the_order_of_day_and_month(tmp_path: Path, mark: str) -> None:
    day_first = "Date,Close\n1/2/2024,1\n13/2/2024,2\n".replace("/", mark)
    assert days(read(tmp_path, day_first)) == ["2024-02-01", "2024-02-13"]
    month_first = "Date,Close\n1/2/2024,1\n01/13/2024,2\n".replace("/", mark)
    assert days(read(tmp_path, month_first)) == ["2024-01-02", "2024-01-13"]


# CSV files that are refused


@pytest.mark.parametrize(
    "written",
    ['"1,23,4"', '"1.234,5"', '"0,123"', '"1234,567"', "abc", "12 USD", "1 234", "1_000", "inf", "-Infinity", "1e999"],
)
def test_text_in_a_price_is_refused(tmp_path: Path, written: str) -> None:
    assert refusal(tmp_path, f"Date,Close\n2024-01-02,1\n\n2024-01-03,{written}\n").startswith(
        f"prices.csv:4: {written.strip(chr(34))!r} is not a price; a finite number such as"
    )


def test_a_lone_comma_beside_semicolons_is_ambiguous(tmp_path: Path) -> None:
    assert refusal(tmp_path, "Date;Close\n2024-01-02;1.5\n2024-01-03;1,234\n") == (
        "prices.csv:3: '1,234' may have a decimal or a thousands comma; write 1234 or 1.234"
    )
    assert read(tmp_path, "Date;Close\n2024-01-02;1,234.5\n2024-01-03;1,234,567\n").prices[0] == 1234.5


def test_an_unquoted_thousands_comma_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path, "Date,Close\n2024-01-02,1,234.5\n") == (
        "prices.csv:2: 3 fields where the header has 2; a price with comma thousands must be in double quotes"
    )


def test_too_few_fields_are_refused(tmp_path: Path) -> None:
    found = refusal(tmp_path, "Date,Open,Close\n2024-01-02,1,2\n2024-01-03,1\n")
    assert found.startswith("prices.csv:3: 2 fields where the header has 3;")


def test_lines_are_counted_as_an_editor_counts_them(tmp_path: Path) -> None:
    content = 'Date,Note,Close\r\n2024-01-02,"two\r\nlines",1\r\n\r\n2024-01-03,,x\r\n'
    assert refusal(tmp_path, content).startswith("prices.csv:5: 'x' is not a price")


def test_an_open_quotation_mark_is_refused_where_its_row_begins(tmp_path: Path) -> None:
    found = refusal(tmp_path, 'Date,Close\n2024-01-02,1\n2024-01-03,"2\n2024-01-04,3\n')
    assert found.startswith("prices.csv:3: cannot be split into fields (")


def test_an_unknown_column_lists_the_columns(tmp_path: Path) -> None:
    content = "Date,Open,High\n2024-01-02,1,2\n"
    assert refusal(tmp_path, content) == "prices.csv: no column 'Close'; the columns are Date, Open, High"


def test_a_column_named_twice_is_refused(tmp_path: Path) -> None:
    for column in ("Close", "close"):
        found = refusal(tmp_path, "Date,Close,Close\n2024-01-02,1,2\n", column)
        assert found == f"prices.csv: 2 columns are named {column!r}; the columns are Date, Close, Close"


def test_one_date_with_two_prices_names_both_lines(tmp_path: Path) -> None:
    assert refusal(tmp_path, "Date,Close\n2024-01-03,2\n2024-01-02,1\n2024-01-03,2.5\n") == (
        "prices.csv:4: price 2.5 on 2024-01-03T00:00:00, but line 2 has 2.0; a date has one price"
    )


def test_days_and_months_that_nothing_tells_apart_are_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path, "Date,Close\n1/2/2024,1\n2/2/2024,2\n") == (
        "prices.csv: no date shows whether they are D/M/Y or M/D/Y; write them as YYYY-MM-DD"
    )


@pytest.mark.parametrize("dates", [["13/1/2024", "1/14/2024"], ["1/14/2024", "13/1/2024"]])
def test_days_and_months_in_both_orders_are_refused(tmp_path: Path, dates: list[str]) -> None:
    rows = "\n".join(f"{each},1" for each in ["2/1/2024", *dates])
    found = refusal(tmp_path, f"Date,Close\n{rows}\n")
    assert found == "prices.csv:4: day and month are not in the order of line 3; keep to one"


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
def test_what_is_no_date_is_refused(tmp_path: Path, written: str) -> None:
    assert refusal(tmp_path, f"Date,Close\n31/1/2024,1\n{written},2\n") == (
        f"prices.csv:3: {written!r} is not a date; allowed are ISO 8601, D/M/YYYY and M/D/YYYY"
    )


@pytest.mark.parametrize("content", ["", "\ufeff", "\n \n\n", '"",""\n'])
def test_an_empty_file_is_refused(tmp_path: Path, content: str) -> None:
    assert refusal(tmp_path, content) == "prices.csv: empty; a header line and at least 2 prices are needed"


@pytest.mark.parametrize(
    ("rows", "count"),
    [("", 0), ("2024-01-02,1\n", 1), ("2024-01-02,-\n2024-01-03,\n", 0), ("2024-01-02,1\n2024-01-02,1\n", 1)],
    ids=["header only", "one price", "no price", "one date"],
)
def test_fewer_than_two_prices_are_refused(tmp_path: Path, rows: str, count: int) -> None:
    found = refusal(tmp_path, f"Date,Close\n{rows}")
    assert found == f"prices.csv: column 'Close' has {count} prices; at least 2 are needed"


@pytest.mark.parametrize("first_line", ["325.25,331.27", "1/3/2012,$325.25", '2012-01-03,"1,325.25"'])
def test_a_missing_header_is_refused(tmp_path: Path, first_line: str) -> None:
    found = refusal(tmp_path, f"\n{first_line}\n{first_line}\n")
    assert found == "prices.csv:2: has values where a header line with column names is needed"


def test_bytes_that_are_no_text_are_refused_with_their_line(tmp_path: Path) -> None:
    allowed = "allowed are UTF-8, and UTF-16 with a byte order mark"
    latin = "Date,Close\r\n2024-01-02,1\r\n2024-01-03,£2\r\n".encode("latin-1")
    assert refusal(tmp_path, latin) == f"prices.csv:3: not UTF-8 text; {allowed}"
    cut_short = b"\xff\xfe" + "Date,Close\n2024".encode("utf-16-le")[:-1]
    assert refusal(tmp_path, cut_short) == f"prices.csv:2: not UTF-16-LE text; {allowed}"
    unmarked = "Date,Close\n".encode("utf-16-le")
    assert refusal(tmp_path, unmarked) == f"prices.csv: holds NUL characters; {allowed}"


def test_a_file_that_cannot_be_opened_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=r"^absent\.csv: cannot be read \(No such file or directory\)$"):
        read_csv(tmp_path / "absent.csv", "Close")
    with pytest.raises(DataError, match=r"cannot be read \("):
        read_csv(tmp_path, "Close")

    def deny(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", deny)
    with pytest.raises(DataError, match=r"^prices\.csv: cannot be read \(Permission denied\)$"):
        read_csv(tmp_path / "prices.csv", "Close")


# Any prices, written by any of these habits, come back as they were


@settings(max_examples=60, deadline=None)
@given(
    cents=st.lists(st.integers(-(10**11), 10**11), min_size=2, max_size=30),
    start=st.dates(date(1900, 1, 1), date(2100, 1, 1)),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    delimiter=st.sampled_from([",", ";", "\t"]),
    line_end=st.sampled_from(["\n", "\r\n"]),
    choices=st.data(),
)
def test_written_prices_are_read_back(
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
    assert days(series) == calendar


# What no model has seen


def test_the_unseen_series_are_those_of_arch() -> None:
    found = {series.name: series for series in unseen_series()}
    assert list(found) == ["sp500", "nasdaq", "wti", "vix"]
    assert [len(series.prices) for series in found.values()] == [5031, 5031, 8321, 1259]
    assert found["sp500"].notes == ()
    assert found["wti"].notes == ("290 rows without a value dropped",)
    assert found["vix"].notes == ("46 rows without a value dropped",)
    assert days(found["sp500"])[0] == "1999-01-04"
    assert days(found["wti"])[-1] == "2019-01-03"
    assert found["sp500"].prices[0] == pytest.approx(1228.099976)
    for series in found.values():
        assert (series.prices > 0).all()
        assert series.dates is not None
        assert (np.diff(series.dates) > np.timedelta64(0)).all()
        assert series.sha256 == hashlib.sha256(series.prices.tobytes()).hexdigest()
        assert (
            series.source
            == f"arch {version('arch')} data.{series.name}, column {unseen_series_module.UNSEEN[series.name]}"
        )


def test_unseen_series_come_in_the_order_asked_for() -> None:
    assert [series.name for series in unseen_series(["vix", "wti"])] == ["vix", "wti"]
    with pytest.raises(DataError, match=r"^arch.data: no series 'gold'; there are sp500, nasdaq, wti, vix$"):
        unseen_series(["wti", "gold"])


def test_values_that_are_not_positive_are_dropped_and_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    """As oil had in April 2020."""
    from arch.data import wti

    table = wti.load().iloc[:5].copy()
    table.iloc[2] = -37.63
    table.iloc[3] = float("nan")
    monkeypatch.setattr(wti, "load", lambda: table)
    [series] = unseen_series(["wti"])
    assert series.notes == ("1 rows without a value dropped", "1 rows that are not positive dropped")
    assert series.prices.tolist() == table["DCOILWTICO"].iloc[[0, 1, 4]].tolist()
    assert len(days(series)) == 3


def test_without_arch_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "arch.data.vix", None)
    with pytest.raises(DataError, match=r"^arch: not installed; pip install arch$"):
        unseen_series(["vix"])


def test_no_recipe_trains_on_them() -> None:
    for name in recipe.names():
        assert not set(unseen_series_module.UNSEEN) & set(recipe.load(name).data.stocks)
