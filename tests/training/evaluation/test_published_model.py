"""Tests of opening a published model: its version, its training data and its test block."""

from pathlib import Path

import numpy as np
import pytest

from app.artifact import store
from app.errors import ArtifactError
from tests.conftest import MODELS, version_of
from tests.training.conftest import daily_dates, make_series, with_training_data
from training.data import sample_stocks
from training.data.series import DataError, Series
from training.data.simulator import random_walk
from training.data.split import split_by_time
from training.evaluation.published_model import PublishedModel, open_model
from training.recipe import SplitConfig


def test_open_model_without_version_opens_the_current_one() -> None:
    found = open_model(MODELS, "tutorial")
    assert found.reference == f"tutorial@{store.current_version(MODELS, 'tutorial')}"
    assert open_model(MODELS, found.reference).reference == found.reference


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("gone", "gone: no such model; available: default, tutorial"),
        ("default@99", f"default: no version '99'; available: {version_of('default')}"),
        ("default@", f"default: no version ''; available: {version_of('default')}"),
        ("../default", "a model name has 1 to 64 characters: lower-case letters, digits, - and _"),
    ],
)
def test_open_model_unknown_reference_lists_available_ones(reference: str, message: str) -> None:
    with pytest.raises(ArtifactError) as caught:
        open_model(MODELS, reference)
    assert message in str(caught.value)


def test_open_model_directory_without_models_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no such model"):
        open_model(tmp_path, "default")
    with pytest.raises(ArtifactError, match="the models directory does not exist"):
        open_model(tmp_path / "gone", "default")


def test_recipe_stocks_are_those_of_the_recipe(default_model: PublishedModel) -> None:
    assert [series.name for series in default_model.recipe_stocks()] == default_model.manifest.recipe["data"]["stocks"]
    with pytest.raises(DataError, match=r"^default@\d+: was not trained on sample stocks; give --csv or --unseen$"):
        with_training_data(default_model, make_series([1.0, 2.0])).recipe_stocks()


def test_first_test_row_of_recipe_stocks_is_their_test_block(
    default_model: PublishedModel,
) -> None:
    recipe = default_model.manifest.recipe
    series = default_model.recipe_stocks()
    blocks = split_by_time(
        series, SplitConfig(**recipe["split"]), default_model.manifest.window, default_model.manifest.horizon
    )
    assert [default_model.first_test_row(each) for each in series] == [block.origins[0] + 1 for block in blocks.test]
    scored = [score for score in default_model.manifest.evidence.scores if score.horizon == 1 and score.seen]
    for each, score in zip(series, scored, strict=True):
        assert default_model.has_seen(each)
        assert each.dates is not None
        assert str(each.dates[default_model.first_test_row(each)].astype("datetime64[D]")) == str(score.first_date)


def test_first_test_row_of_another_stock_is_the_same_day(default_model: PublishedModel) -> None:
    """The model has seen how the market moved before that day."""
    [fb] = sample_stocks.load_sample_stocks(["FB"])
    apple, *_ = default_model.recipe_stocks()
    assert not default_model.has_seen(fb)
    assert fb.dates is not None
    assert apple.dates is not None
    begins = apple.dates[default_model.first_test_row(apple)]
    assert default_model.first_test_row(fb) == int((fb.dates < begins).sum())
    assert with_training_data(default_model, make_series([1.0, 2.0])).first_test_row(apple) == 0


def test_first_test_row_of_training_file_is_its_test_block(default_model: PublishedModel) -> None:
    series = make_series(random_walk(1, 1000, 1)[0].prices, "mine", daily_dates("2001-01-01", 1000))
    assert (default_model.has_seen(series), default_model.first_test_row(series)) == (False, 0)
    model = with_training_data(default_model, series)
    assert (model.has_seen(series), model.first_test_row(series)) == (True, 800)
    undated = make_series(series.prices, "mine")
    assert model.first_test_row(undated) == 800


def test_has_seen_source_ignores_content(default_model: PublishedModel) -> None:
    series = make_series(random_walk(1, 100, 1)[0].prices, "mine")
    both = Series("mine", series.prices, None, f"{series.source}; later.csv, column Close", "1" * 64)
    model = with_training_data(default_model, both)
    assert (model.has_seen(series), model.has_seen_source(series)) == (False, True)
    assert not default_model.has_seen_source(series)


def test_reject_invalid_prices_names_the_price(default_model: PublishedModel) -> None:
    default_model.reject_invalid_prices(make_series([1.0, 2.0]))
    with pytest.raises(DataError, match=r"^made, price 2: a price must be positive for this model"):
        default_model.reject_invalid_prices(make_series([1.0, 0.0, 2.0]))


def test_open_model_forecasts_the_golden_windows(default_model: PublishedModel) -> None:
    golden = default_model.manifest.golden
    assert default_model.is_centered_on_last_price == (default_model.manifest.calibration.center == "last_price")
    assert default_model.forecaster.forecast(np.array(golden.windows)) == pytest.approx(
        np.array(golden.forecasts), rel=1e-5
    )
