"""The pinned sample stocks of `bokeh_sampledata`."""

import sys

import numpy as np
import pytest

from training.data import sample_stocks
from training.data.sample_stocks import load_sample_stocks
from training.data.series import DataError


def test_load_sample_stocks_keeps_the_order() -> None:
    series = load_sample_stocks(["MSFT", "AAPL"])
    assert [each.name for each in series] == ["MSFT", "AAPL"]
    assert [len(each.prices) for each in series] == [3270, 3270]
    assert series[0].source == "bokeh_sampledata 2026.1 stocks.csv.gz, column adj_close"
    assert series[0].sha256 == sample_stocks.STOCKS_SHA256
    assert series[0].notes == ()
    assert series[0].dates is not None
    assert series[0].dates.dtype == np.dtype("datetime64[s]")
    assert str(series[0].dates[0].astype("datetime64[D]")) == "2000-03-01"
    assert str(series[0].dates[-1].astype("datetime64[D]")) == "2013-03-01"


@pytest.mark.parametrize("column", sample_stocks.STOCK_COLUMNS)
def test_load_sample_stocks_prices_are_positive_dates_increase(column: str) -> None:
    for series in load_sample_stocks(sample_stocks.STOCK_NAMES, column):
        assert series.prices.dtype == np.float64
        assert series.dates is not None
        assert series.prices.shape == series.dates.shape
        assert np.isfinite(series.prices).all()
        assert (series.prices > 0).all()
        assert (np.diff(series.dates) > np.timedelta64(0, "s")).all()


def test_load_sample_stocks_unknown_name_lists_the_choices() -> None:
    with pytest.raises(DataError, match=r"^stocks.csv.gz: no stock 'TSLA'; choose from AAPL, FB, GOOG, IBM, MSFT$"):
        load_sample_stocks(["AAPL", "TSLA"])
    with pytest.raises(
        DataError, match=r"^stocks.csv.gz: no price column 'volume'; choose from open, high, low, close, "
    ):
        load_sample_stocks(["AAPL"], "volume")


def test_load_sample_stocks_other_data_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    found = sample_stocks.STOCKS_SHA256
    monkeypatch.setattr(sample_stocks, "STOCKS_SHA256", "0" * 64)
    with pytest.raises(DataError, match=rf"^stocks.csv.gz: SHA-256 is {found}; bokeh-sampledata==2026.1 has 0000"):
        load_sample_stocks(["AAPL"])


def test_load_sample_stocks_missing_package_names_the_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bokeh_sampledata", None)
    with pytest.raises(DataError, match=r"pip install bokeh-sampledata==2026\.1$"):
        load_sample_stocks(["AAPL"])
