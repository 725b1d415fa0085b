"""Other versions of a shipped model, for tests that swap them: the same network, with wider or narrower intervals."""

import shutil
from pathlib import Path

import numpy as np

from app.artifact import store
from app.artifact.staging import staging_directory
from app.artifact.manifest import ManifestDraft, GoldenForecasts
from app.artifact.transform import F64
from app.inference.forecaster import Forecaster, load_forecaster


def publish_variant(models_dir: Path, name: str, factor: float, *, is_current: bool = True) -> str:
    """Publishes the current version of a model once more, with other intervals, and returns the new version.

    All else is as it was: the medians, the files, the evidence. What it forecasts for its golden windows is computed
    anew, so that it is an artifact like any other.

    Args:
        models_dir: to be written to.
        factor: by which its intervals are wider, in the network's output units and on average over the golden windows.
        is_current: whether `current` names it afterwards; else it names what it named before.
    """
    before = store.current_version(models_dir, name)
    artifact = store.read_version(models_dir, name, before)
    manifest = artifact.manifest
    if not manifest.levels:
        raise ValueError(f"the model {name!r} has no intervals that could be wider")
    forecaster = load_forecaster(artifact, "onnx")
    windows = np.array(manifest.golden.windows)  # (G, W)

    outputs = forecaster.engine.run(artifact.transform.encode(windows).inputs)
    quantiles = outputs.astype(np.float64).reshape(len(windows), manifest.horizon, -1).mean(axis=0)  # (H, Q)
    middle = len(manifest.levels)
    half_widths = (quantiles[:, middle + 1 :] - quantiles[:, middle - 1 :: -1]) / 2  # (H, L)
    offsets = np.array(manifest.calibration.offsets)
    offsets += (factor - 1) * (half_widths + offsets)

    calibration = manifest.calibration.model_copy(update={"offsets": offsets.tolist()})
    forecasts = Forecaster(
        artifact.transform, forecaster.engine, calibration, manifest.quantiles, manifest.training_ranges
    ).forecast(windows)
    golden = GoldenForecasts(windows=manifest.golden.windows, forecasts=forecasts.tolist())
    same = {field: getattr(manifest, field) for field in ManifestDraft.model_fields}
    with staging_directory(models_dir, name) as stage:
        for file in manifest.files:
            shutil.copyfile(artifact.path / file, stage.path / file)
        version = stage.publish(
            ManifestDraft(**same | {"calibration": calibration, "golden": golden}), lambda path: load_forecaster(store.read_artifact(path), "onnx")
        )
    if not is_current:
        store.write_current(models_dir, name, before)
    return version


def widths(models_dir: Path, name: str, version: str, windows: F64) -> F64:
    """(B, H, L) how wide a version's intervals are, from the narrowest level to the widest, as part of the median."""
    artifact = store.read_version(models_dir, name, version)
    quantiles = load_forecaster(artifact, "onnx").forecast(windows)  # (B, H, Q)
    middle = len(artifact.manifest.levels)
    ends: F64 = quantiles[:, :, middle + 1 :] - quantiles[:, :, middle - 1 :: -1]
    return ends / quantiles[:, :, middle, None]
