"""Where a model comes from, for its manifest: the recipe in full, the prices it has seen, and what trained it."""

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


def libraries() -> dict[str, str]:
    """The versions of all that trains, Pricecast's own too, and which backend Keras uses."""
    backend = keras.backend.backend()
    return {
        "pricecast": __version__,
        "python": platform.python_version(),
        **{name: version(name) for name in LIBRARIES},
        "backend": backend,
        backend: str(import_module(backend).__version__),  # its distribution has other names too, as tensorflow_cpu
    }


def recorded(recipe: Recipe) -> dict[str, Any]:
    """The recipe in full, without the directories of somebody's machine."""
    content = recipe.model_dump(mode="json")
    for key in ("csv", "test_csv"):
        if content["data"][key]:
            content["data"][key] = Path(content["data"][key]).name
    return content


def instrument(series: Series) -> Instrument:
    return Instrument(
        name=series.name,
        source=series.source,
        rows=len(series.prices),
        first_date=_date(series, 0),
        last_date=_date(series, -1),
        sha256=series.sha256,
    )


def paths(simulated: Sequence[Series], anew: bool) -> list[Instrument]:
    """All paths as one instrument: nobody wants to read hundreds.

    Args:
        anew: whether others took the place of those to train on in each epoch.
    """
    if not simulated:
        return []
    rows = sum(len(series.prices) for series in simulated)
    digest = sha256("".join(series.sha256 for series in simulated).encode()).hexdigest()
    source = f"{len(simulated)} simulated paths" + (", and as many anew for each epoch" if anew else "")
    return [Instrument(name="synthetic", source=source, rows=rows, first_date=None, last_date=None, sha256=digest)]


def _date(series: Series, index: int) -> date | None:
    return None if series.dates is None else series.dates[index].astype("datetime64[D]").item()
