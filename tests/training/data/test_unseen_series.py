"""The daily series of `arch` that no recipe trains on."""

import hashlib
import sys
from importlib.metadata import version

import numpy as np
import pytest

from training.data.series import DataError, Series
from training.data.unseen_series import UNSEEN_COLUMNS, load_unseen_series
from training.recipe_files import load_recipe, recipe_names


def iso_dates(series: Series) -> list[str]:
    assert series.dates is not None
    assert series.dates.dtype == np.dtype("datetime64[s]")
    return [str(moment) for moment in series.dates.astype("datetime64[D]")]


def test_load_unseen_series_loads_all_by_default() -> None:
    found = {series.name: series for series in load_unseen_series()}
    assert list(found) == ["sp500", "nasdaq", "wti", "vix"]
    assert [len(series.prices) for series in found.values()] == [5031, 5031, 8321, 1259]
    assert found["sp500"].notes == ()
    assert found["wti"].notes == ("290 rows dropped because they have no value",)
    assert found["vix"].notes == ("46 rows dropped because they have no value",)
    assert iso_dates(found["sp500"])[0] == "1999-01-04"
    assert iso_dates(found["wti"])[-1] == "2019-01-03"
    assert found["sp500"].prices[0] == pytest.approx(1228.099976)
    for series in found.values():
        assert (series.prices > 0).all()
        assert series.dates is not None
        assert (np.diff(series.dates) > np.timedelta64(0)).all()
        assert series.sha256 == hashlib.sha256(series.prices.tobytes()).hexdigest()
        assert series.source == f"arch {version('arch')} data.{series.name}, column {UNSEEN_COLUMNS[series.name]}"


def test_load_unseen_series_keeps_the_order() -> None:
    assert [series.name for series in load_unseen_series(["vix", "wti"])] == ["vix", "wti"]
    with pytest.raises(DataError, match=r"^arch.data: no series 'gold'; choose from sp500, nasdaq, wti, vix$"):
        load_unseen_series(["wti", "gold"])


def test_load_unseen_series_drops_values_not_positive(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oil price was negative in April 2020."""
    from arch.data import wti

    table = wti.load().iloc[:5].copy()
    table.iloc[2] = -37.63
    table.iloc[3] = float("nan")
    monkeypatch.setattr(wti, "load", lambda: table)
    [series] = load_unseen_series(["wti"])
    assert series.notes == (
        "1 rows dropped because they have no value",
        "1 rows dropped because they have a value that is not positive",
    )
    assert series.prices.tolist() == table["DCOILWTICO"].iloc[[0, 1, 4]].tolist()
    assert len(iso_dates(series)) == 3


def test_load_unseen_series_missing_package_names_the_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "arch.data.vix", None)
    with pytest.raises(DataError, match=r"^arch: not installed; pip install arch$"):
        load_unseen_series(["vix"])


def test_unseen_series_are_in_no_shipped_recipe() -> None:
    for name in recipe_names():
        assert not set(UNSEEN_COLUMNS) & set(load_recipe(name).data.stocks)
