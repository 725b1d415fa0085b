"""Variants of a shipped model are artifacts like any other, and tell themselves apart."""

from pathlib import Path

import numpy as np
import pytest

from app.artifact import store
from app.artifact.store import Artifact
from app.inference.forecaster import load_forecaster, verify_golden
from tests.conftest import version_of
from tests.model_variants import publish_variant, widths


@pytest.mark.parametrize("factor", [0.5, 1.5, 4.0])
def test_a_variant_has_intervals_as_much_wider_as_asked_and_the_same_medians(
    models: Path, default: Artifact, factor: float
) -> None:
    version = publish_variant(models, "default", factor)
    assert store.current_version(models, "default") == version != version_of("default")
    variant = store.read_version(models, "default", version)
    forecaster = load_forecaster(variant, "onnx")
    verify_golden(forecaster, variant.manifest.golden)

    windows = np.array(default.manifest.golden.windows)
    middle = len(default.manifest.levels)
    before, after = load_forecaster(default, "onnx").forecast(windows), forecaster.forecast(windows)
    np.testing.assert_allclose(after[:, :, middle], before[:, :, middle], rtol=1e-6)
    wider = widths(models, "default", version, windows) / widths(models, "default", version_of("default"), windows)
    np.testing.assert_array_equal(wider > 1, factor > 1)
    np.testing.assert_allclose(np.median(wider), factor, rtol=0.5)


def test_a_variant_need_not_become_current_and_a_variant_can_have_a_variant(models: Path) -> None:
    first = publish_variant(models, "default", 1.5, is_current=False)
    assert store.current_version(models, "default") == version_of("default")
    second = publish_variant(models, "default", 3.0)
    assert [int(second), int(first)] == [int(version_of("default")) + 2, int(version_of("default")) + 1]
    assert store.current_version(models, "default") == second


def test_a_model_without_intervals_has_no_variant(models: Path) -> None:
    with pytest.raises(ValueError, match="has no intervals"):
        publish_variant(models, "tutorial", 2.0)
    assert store.versions(models, "tutorial") == [version_of("tutorial")]
