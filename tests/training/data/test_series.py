"""Price series: joining two of them, and the error for unusable prices."""

import pickle
import re

import numpy as np
import pytest

from tests.training.conftest import daily_dates, make_series
from training.data.series import DataError, Series, concatenate_series


def test_data_error_shows_place_and_reason_and_pickles() -> None:
    error = DataError("prices.csv:17", "is negative")
    assert str(error) == str(pickle.loads(pickle.dumps(error))) == "prices.csv:17: is negative"


def test_concatenate_series_keeps_the_provenance_of_both() -> None:
    before = Series("before", np.array([1.0, 2.0]), daily_dates("2001-01-01", 2), "before.csv", "a" * 64, ("tidied",))
    after = Series("after", np.array([3.0, 4.0]), daily_dates("2001-02-01", 2), "after.csv", "b" * 64, ("sorted",))
    joined = concatenate_series(before, after)
    assert (joined.name, joined.source, joined.notes) == ("before", "before.csv; after.csv", ("tidied", "sorted"))
    assert joined.prices.tolist() == [1, 2, 3, 4]
    assert joined.dates is not None
    assert joined.dates.tolist() == [*daily_dates("2001-01-01", 2).tolist(), *daily_dates("2001-02-01", 2).tolist()]
    assert joined.sha256 not in (before.sha256, after.sha256)
    assert re.fullmatch("[0-9a-f]{64}", joined.sha256)
    assert joined.sha256 != concatenate_series(before, Series("after", after.prices, after.dates, "", "c" * 64)).sha256


@pytest.mark.parametrize("undated", ["before", "after", "both"])
def test_concatenate_series_without_all_dates_has_none(undated: str) -> None:
    before = make_series([1.0, 2.0], dates=None if undated != "after" else daily_dates("2005-01-01", 2))
    after = make_series([3.0, 4.0], dates=None if undated != "before" else daily_dates("2001-01-01", 2))
    joined = concatenate_series(before, after)
    assert joined.dates is None
    assert joined.prices.tolist() == [1, 2, 3, 4]
