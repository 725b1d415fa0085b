"""Publishes variants of a shipped model, for benchmarks and tests that swap versions."""

import shutil
from pathlib import Path

import numpy as np

from app.artifact import store
from app.artifact.manifest import GoldenForecasts, ManifestDraft
from app.artifact.publishing import staging_directory
from app.inference.forecaster import Forecaster, load_forecaster


def publish_variant(models_dir: Path, name: str, factor: float, *, is_current: bool = True) -> str:
    """Publish a new version of a model's current version that differs only in the width of its intervals.

    The golden forecasts are computed again, so the new version passes the same checks as any other artifact.

    Args:
        models_dir: Directory of models, which is written to.
        name: Name of the model.
        factor: Average ratio of new to old interval widths over the golden windows, in the network's output units.
        is_current: Whether `current` names the new version afterwards. Otherwise it stays as it was.

    Returns:
        The new version.

    Raises:
        ValueError: The model has no intervals.
    """
    before = store.current_version(models_dir, name)
    artifact = store.read_version(models_dir, name, before)
    manifest = artifact.manifest
    if not manifest.levels:
        raise ValueError(f"the model {name!r} has no intervals to widen")
    forecaster = load_forecaster(artifact, "onnx")
    windows = np.array(manifest.golden.windows)  # (G, W)

    outputs = forecaster.engine.run(artifact.transform.encode(windows).inputs)
    quantiles = outputs.astype(np.float64).reshape(len(windows), manifest.horizon, -1).mean(axis=0)  # (H, Q)
    median = len(manifest.levels)
    half_widths = (quantiles[:, median + 1 :] - quantiles[:, median - 1 :: -1]) / 2  # (H, L)
    offsets = np.array(manifest.calibration.offsets)
    offsets += (factor - 1) * (half_widths + offsets)

    calibration = manifest.calibration.model_copy(update={"offsets": offsets.tolist()})
    forecasts = Forecaster(
        artifact.transform, forecaster.engine, calibration, manifest.quantiles, manifest.training_ranges
    ).forecast(windows)
    golden = GoldenForecasts(windows=manifest.golden.windows, forecasts=forecasts.tolist())
    unchanged = {field: getattr(manifest, field) for field in ManifestDraft.model_fields}
    with staging_directory(models_dir, name) as stage:
        for file in manifest.files:
            shutil.copyfile(artifact.path / file, stage.path / file)
        version = stage.publish(
            ManifestDraft(**unchanged | {"calibration": calibration, "golden": golden}),
            lambda path: load_forecaster(store.read_artifact(path), "onnx"),
        )
    if not is_current:
        store.write_current(models_dir, name, before)
    return version
