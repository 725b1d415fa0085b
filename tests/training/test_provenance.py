"""Tests of the provenance that a manifest records."""

import json
import re
from pathlib import Path

import keras
import pytest

import app
from tests.training.conftest import daily_dates, make_series, quick_recipe, recipe_from_csv
from training import provenance
from training.data.simulator import random_walk

pytestmark = pytest.mark.slow

SIMULATED_SOURCE = "{} simulated paths"
NEW_PATHS_NOTE = ", with new training paths for every epoch"


def test_recipe_record_has_no_directories(tmp_path: Path) -> None:
    recorded = provenance.recipe_record(recipe_from_csv("quick", tmp_path / "prices.csv", tmp_path / "later.csv"))
    assert (recorded["data"]["csv"], recorded["data"]["test_csv"]) == ("prices.csv", "later.csv")
    assert str(tmp_path) not in json.dumps(recorded)
    assert provenance.recipe_record(quick_recipe()) == quick_recipe().model_dump(mode="json")


def test_instrument_record_has_first_and_last_date() -> None:
    found = provenance.instrument_record(make_series([1.0, 2.0, 3.0], "made", daily_dates("2001-01-30", 3)))
    assert (found.name, found.source, found.rows) == ("made", "made.csv, column Close", 3)
    assert (str(found.first_date), str(found.last_date)) == ("2001-01-30", "2001-02-01")
    undated = provenance.instrument_record(make_series([1.0, 2.0]))
    assert (undated.first_date, undated.last_date) == (None, None)


def test_simulated_instrument_records_are_at_most_one() -> None:
    one, other = random_walk(2, 50, 1)
    assert provenance.simulated_instrument_records([], is_resampled=False) == []
    (found,) = provenance.simulated_instrument_records([one, other], is_resampled=True)
    assert (found.name, found.source, found.rows) == ("synthetic", SIMULATED_SOURCE.format(2) + NEW_PATHS_NOTE, 100)
    assert found.sha256 != provenance.simulated_instrument_records([other, one], is_resampled=True)[0].sha256


def test_library_versions_include_pricecast_and_backend() -> None:
    found = provenance.library_versions()
    assert found.keys() == {"pricecast", "python", "backend", found["backend"], *provenance.LIBRARIES}
    assert found["pricecast"] == app.__version__
    assert found["backend"] == keras.config.backend()
    assert found["keras"] == keras.__version__
    assert re.match(r"\d+\.\d+", found[found["backend"]])
