from pathlib import Path

import numpy as np
import pytest

from app.artifact import store
from app.artifact.arrays import F64
from app.artifact.store import Artifact
from app.inference.forecaster import load_forecaster, verify_golden
from benchmarks.model_variants import publish_variant
from tests.conftest import version_of


def relative_widths(models_dir: Path, version: str, windows: F64) -> F64:
    """Compute interval widths (B, H, L) of the default model relative to the median, narrowest level first."""
    artifact = store.read_version(models_dir, "default", version)
    quantiles = load_forecaster(artifact, "onnx").forecast(windows)  # (B, H, Q)
    median = len(artifact.manifest.levels)
    widths: F64 = quantiles[:, :, median + 1 :] - quantiles[:, :, median - 1 :: -1]
    return widths / quantiles[:, :, median, None]


@pytest.mark.parametrize("factor", [0.5, 1.5, 4.0])
def test_variant_has_scaled_intervals_and_equal_medians(models: Path, default: Artifact, factor: float) -> None:
    version = publish_variant(models, "default", factor)
    assert store.current_version(models, "default") == version != version_of("default")
    variant = store.read_version(models, "default", version)
    forecaster = load_forecaster(variant, "onnx")
    verify_golden(forecaster, variant.manifest.golden)

    windows = np.array(default.manifest.golden.windows)
    median = len(default.manifest.levels)
    before, after = load_forecaster(default, "onnx").forecast(windows), forecaster.forecast(windows)
    np.testing.assert_allclose(after[:, :, median], before[:, :, median], rtol=1e-6)
    ratio = relative_widths(models, version, windows) / relative_widths(models, version_of("default"), windows)
    np.testing.assert_array_equal(ratio > 1, factor > 1)
    np.testing.assert_allclose(np.median(ratio), factor, rtol=0.5)


def test_variant_need_not_become_current(models: Path) -> None:
    first = publish_variant(models, "default", 1.5, is_current=False)
    assert store.current_version(models, "default") == version_of("default")
    second = publish_variant(models, "default", 3.0)
    assert [int(second), int(first)] == [int(version_of("default")) + 2, int(version_of("default")) + 1]
    assert store.current_version(models, "default") == second


def test_model_without_intervals_has_no_variant(models: Path) -> None:
    with pytest.raises(ValueError, match="has no intervals"):
        publish_variant(models, "tutorial", 2.0)
    assert store.versions(models, "tutorial") == [version_of("tutorial")]
