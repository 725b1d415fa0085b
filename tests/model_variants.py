"""Variants of a shipped model for tests that swap versions: the same network with wider or narrower intervals."""

import shutil
from pathlib import Path

import numpy as np

from app.artifact import store
from app.artifact.staging import staging_directory
from app.artifact.manifest import ManifestDraft, GoldenForecasts
from app.artifact.transform import F64
from app.inference.forecaster import Forecaster, load_forecaster


def publish_variant(models_dir: Path, name: str, factor: float, *, is_current: bool = True) -> str:
    """Publish the current version of a model again with other intervals, and return the new version.

    Medians, files and evidence are those of the current version. The golden forecasts are computed again, so the
    variant passes every check of a published artifact.

    Args:
        models_dir: A writable models directory.
        name: The model.
        factor: Ratio of the new interval widths to the old ones, in network output units, averaged over the golden
            windows.
        is_current: Whether `current` names the variant afterwards. Otherwise it stays as it was.

    Raises:
        ValueError: The model has no intervals.
    """
    current = store.current_version(models_dir, name)
    artifact = store.read_version(models_dir, name, current)
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
        store.write_current(models_dir, name, current)
    return version


def relative_widths(models_dir: Path, name: str, version: str, windows: F64) -> F64:
    """Return the interval widths of a version, divided by the median.

    Returns:
        Array of shape (B, H, L), from the narrowest level to the widest.
    """
    artifact = store.read_version(models_dir, name, version)
    quantiles = load_forecaster(artifact, "onnx").forecast(windows)  # (B, H, Q)
    median = len(artifact.manifest.levels)
    widths: F64 = quantiles[:, :, median + 1 :] - quantiles[:, :, median - 1 :: -1]
    return widths / quantiles[:, :, median, None]
