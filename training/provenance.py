"""The provenance that a manifest records: the recipe, the price series and the library versions."""

import platform
from collections.abc import Sequence
from datetime import date
from hashlib import sha256
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import keras

from app import __version__
from app.artifact.manifest import Instrument
from training.data.series import Series
from training.recipe import Recipe

LIBRARIES = ("keras", "numpy", "onnx", "onnxruntime", "scikit-learn", "joblib")


def library_versions() -> dict[str, str]:
    """Return the versions of Pricecast, Python and the libraries that training uses, and the Keras backend's name."""
    backend = keras.backend.backend()
    return {
        "pricecast": __version__,
        "python": platform.python_version(),
        **{name: version(name) for name in LIBRARIES},
        "backend": backend,
        # Read from the module, because the distribution may have another name, such as tensorflow_cpu.
        backend: str(import_module(backend).__version__),
    }


def recipe_record(recipe: Recipe) -> dict[str, Any]:
    """Return the complete recipe as JSON values, with file names instead of local paths."""
    content = recipe.model_dump(mode="json")
    for key in ("csv", "test_csv"):
        if content["data"][key]:
            content["data"][key] = Path(content["data"][key]).name
    return content


def instrument_record(series: Series) -> Instrument:
    """Return the manifest entry of a price series."""
    return Instrument(
        name=series.name,
        source=series.source,
        rows=len(series.prices),
        first_date=_date(series, 0),
        last_date=_date(series, -1),
        sha256=series.sha256,
    )


def simulated_instrument_records(simulated: Sequence[Series], is_resampled: bool) -> list[Instrument]:
    """Return one manifest entry for all simulated paths together, or an empty list if there are none.

    Args:
        simulated: The paths that were simulated before training.
        is_resampled: Whether the training block used new paths for every epoch.
    """
    if not simulated:
        return []
    rows = sum(len(series.prices) for series in simulated)
    digest = sha256("".join(series.sha256 for series in simulated).encode()).hexdigest()
    source = f"{len(simulated)} simulated paths" + (", with new training paths for every epoch" if is_resampled else "")
    return [Instrument(name="synthetic", source=source, rows=rows, first_date=None, last_date=None, sha256=digest)]


def _date(series: Series, index: int) -> date | None:
    return None if series.dates is None else series.dates[index].astype("datetime64[D]").item()
