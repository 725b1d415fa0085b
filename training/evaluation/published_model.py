"""A published model, opened to be judged: what it forecasts, and on which prices it may be judged."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from app.artifact import store
from app.artifact.manifest import Manifest
from app.artifact.transform import Transform
from app.errors import ArtifactError
from app.inference.forecaster import Forecaster, load_forecaster
from training.data.blocks import Samples, split_by_time
from training.data.sample_stocks import STOCKS_SHA256, load_sample_stocks
from training.data.series import DataError, Series, reject_invalid_prices
from training.evaluation import backtest
from training.evaluation.backtest import Backtest
from training.recipe import SplitConfig


class PublishedModel:
    """One version of a model, as it is served; no Keras is needed."""

    def __init__(self, manifest: Manifest, forecaster: Forecaster, transform: Transform) -> None:
        self.manifest = manifest
        self.forecaster = forecaster
        self._transform = transform
        self._split = SplitConfig.model_validate(manifest.recipe["split"])

    @property
    def reference(self) -> str:
        return f"{self.manifest.name}@{self.manifest.version}"

    @property
    def held(self) -> bool:
        """Whether the median is held at the last price."""
        return self.manifest.calibration.center == "last_price"

    def samples(self) -> list[Series]:
        """The sample stocks that the recipe names.

        Raises:
            DataError: it names none.
        """
        wanted = self.manifest.recipe["data"]
        if not wanted["stocks"]:
            raise DataError(self.reference, "was trained on no sample stocks; give --csv or --unseen")
        return load_sample_stocks(wanted["stocks"], wanted["column"])

    def knows(self, series: Series) -> bool:
        """Whether the model was trained on earlier prices of this very file, or of this sample stock."""
        named = series.sha256 == STOCKS_SHA256  # one file of all of them
        return any(
            each.sha256 == series.sha256 and (not named or each.name == series.name) for each in self.manifest.data
        )

    def has_read(self, series: Series) -> bool:
        """Whether it was trained on a file and column of this name, of whatever content: perhaps with a second file."""
        return any(series.source in each.source.split("; ") for each in self.manifest.data)

    def first_row(self, series: Series) -> int:
        """The first row of a series that the model may be judged on: that of its test block, or 0 where it knows none.

        Sample stocks are cut at dates that all of the recipe's stocks share, and so is a stock that the recipe does
        not name: a model knows how the market went.
        """
        if series.sha256 == STOCKS_SHA256:
            if not self.manifest.recipe["data"]["stocks"]:
                return 0
            begins = min(_first_date(samples) for samples in self._test(self.samples()))
            return int(np.searchsorted(_dates(series), begins))
        return int(self._test([series])[0].origins[0]) + 1 if self.knows(series) else 0

    def run(self, samples: Samples, seen: bool) -> Backtest:
        return backtest.run_backtest(self.forecaster, samples, self.manifest.quantiles, self.manifest.levels, seen)

    def reject_invalid_prices(self, series: Series) -> None:
        """Raises DataError for a price that the model cannot take, naming it."""
        reject_invalid_prices(series, self._transform)

    def _test(self, series: Sequence[Series]) -> list[Samples]:
        return split_by_time(series, self._split, self.manifest.window, self.manifest.horizon).test


def open_model(models_dir: Path, reference: str) -> PublishedModel:
    """The model called `name`, or `name@version`; without a version, the one that is served by default.

    Raises:
        ArtifactError: there is none, or it must not be served.
    """
    name, _, version = reference.partition("@")
    store.check_model_name(models_dir, name)
    if not store.versions(models_dir, name):
        raise ArtifactError(
            models_dir / name, f"there is no such model; there is {', '.join(store.model_names(models_dir))}"
        )
    published = store.versions(models_dir, name)
    if "@" in reference and version not in published:
        raise ArtifactError(models_dir / name, f"there is no version {version!r}; there is {', '.join(published)}")
    artifact = store.read_version(models_dir, name, version or store.current_version(models_dir, name))
    return PublishedModel(artifact.manifest, load_forecaster(artifact, "onnx"), artifact.transform)


def _first_date(samples: Samples) -> np.datetime64:
    found: np.datetime64 = _dates(samples.series)[samples.origins[0] + 1]
    return found


def _dates(series: Series) -> npt.NDArray[np.datetime64]:
    assert series.dates is not None  # of sample stocks
    return series.dates
