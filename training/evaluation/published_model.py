"""Published models, loaded for evaluation."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from app.artifact import store
from app.artifact.manifest import Manifest
from app.artifact.transform import Transform
from app.errors import ArtifactError
from app.inference.forecaster import Forecaster, load_forecaster
from training.data.sample_stocks import STOCKS_SHA256, load_sample_stocks
from training.data.series import DataError, Series, reject_invalid_prices
from training.data.split import Samples, split_by_time
from training.evaluation.backtest import Backtest, run_backtest
from training.recipe import SplitConfig


class PublishedModel:
    """One version of a model, as it would be served by the onnx engine, which does not need Keras."""

    def __init__(self, manifest: Manifest, forecaster: Forecaster, transform: Transform) -> None:
        self.manifest = manifest
        self.forecaster = forecaster
        self._transform = transform
        self._split = SplitConfig.model_validate(manifest.recipe["split"])

    @property
    def reference(self) -> str:
        """The model as `name@version`."""
        return f"{self.manifest.name}@{self.manifest.version}"

    @property
    def is_centered_on_last_price(self) -> bool:
        """Whether the median always equals the last price."""
        return self.manifest.calibration.center == "last_price"

    def recipe_stocks(self) -> list[Series]:
        """Load the sample stocks that the model was trained on.

        Raises:
            DataError: The model's recipe names no sample stocks.
        """
        data = self.manifest.recipe["data"]
        if not data["stocks"]:
            raise DataError(self.reference, "was not trained on sample stocks; give --csv or --unseen")
        return load_sample_stocks(data["stocks"], data["column"])

    def has_seen(self, series: Series) -> bool:
        """Return whether the model was trained on earlier prices of the same file or sample stock."""
        is_sample_stock = series.sha256 == STOCKS_SHA256  # all sample stocks are in one file
        return any(
            data.sha256 == series.sha256 and (not is_sample_stock or data.name == series.name)
            for data in self.manifest.data
        )

    def has_seen_source(self, series: Series) -> bool:
        """Return whether the model was trained on a file and a column with the same names, ignoring their content."""
        return any(series.source in data.source.split("; ") for data in self.manifest.data)

    def first_test_row(self, series: Series) -> int:
        """Return the first row of a series that the model may be evaluated on.

        This row is the start of the test block if the model was trained on the series, and 0 otherwise. A model trained
        on sample stocks has seen how the market moved before their test block, so every sample stock is evaluated from
        the first date of that block.
        """
        if series.sha256 == STOCKS_SHA256:
            if not self.manifest.recipe["data"]["stocks"]:
                return 0
            first_date = min(_first_date(samples) for samples in self._test_blocks(self.recipe_stocks()))
            return int(np.searchsorted(_dates(series), first_date))
        return int(self._test_blocks([series])[0].origins[0]) + 1 if self.has_seen(series) else 0

    def backtest(self, samples: Samples, is_seen: bool) -> Backtest:
        """Forecast every sample.

        Args:
            samples: The windows to forecast from, and their outcomes.
            is_seen: Whether the model was trained on earlier prices of the series.
        """
        return run_backtest(self.forecaster, samples, self.manifest.quantiles, self.manifest.levels, is_seen)

    def reject_invalid_prices(self, series: Series) -> None:
        """Raise DataError, which names the position, for the first price that the model does not accept."""
        reject_invalid_prices(series, self._transform)

    def _test_blocks(self, series: Sequence[Series]) -> list[Samples]:
        return split_by_time(series, self._split, self.manifest.window, self.manifest.horizon).test


def open_model(models_dir: Path, reference: str) -> PublishedModel:
    """Load a published model.

    Args:
        models_dir: The directory of models.
        reference: `name@version`, or `name` for the version that is served by default.

    Raises:
        ArtifactError: There is no such model or version, or its artifact is invalid.
    """
    name, _, version = reference.partition("@")
    store.check_model_name(models_dir, name)
    published = store.versions(models_dir, name)
    if not published:
        raise ArtifactError(models_dir / name, f"no such model; available: {', '.join(store.model_names(models_dir))}")
    if "@" in reference and version not in published:
        raise ArtifactError(models_dir / name, f"no version {version!r}; available: {', '.join(published)}")
    artifact = store.read_version(models_dir, name, version or store.current_version(models_dir, name))
    return PublishedModel(artifact.manifest, load_forecaster(artifact, "onnx"), artifact.transform)


def _first_date(samples: Samples) -> np.datetime64:
    """Return the date of the first price that is forecast."""
    first_date: np.datetime64 = _dates(samples.series)[samples.origins[0] + 1]
    return first_date


def _dates(series: Series) -> npt.NDArray[np.datetime64]:
    assert series.dates is not None  # sample stocks have dates
    return series.dates
