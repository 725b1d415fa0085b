"""The manifest survives a round trip, reads documents of earlier releases, and rejects inconsistent ones."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from app.artifact import store
from app.artifact.evidence import Curve
from app.artifact.manifest import LogReturnParameters, Manifest, MinMaxPriceParameters

Document = dict[str, Any]

FIELDS_ADDED_LATER = (
    *("seen", "mase", "rmsse", "skill_p_value_nested", "direction", "coverage_interval", "coverage_by_volatility"),
    *("crps", "winkler", "pit", "folds", "point_baselines", "interval_baselines"),
)


def manifest_text(models: Path, name: str) -> str:
    return (models / name / store.current_version(models, name) / store.MANIFEST).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def text(shipped: Path) -> str:
    """Return the manifest of the shipped default model, which has several horizons and levels."""
    return manifest_text(shipped, "default")


@pytest.fixture
def document(text: str) -> Document:
    """Return a copy to change, reduced to two levels and one golden window."""
    reduced: Document = json.loads(text)
    window, horizon = reduced["window"], reduced["horizon"]
    reduced |= {
        "levels": [80, 95],
        "calibration": {"center": "network", "offsets": [[0.0, 0.1]] * horizon},
        "golden": {"windows": [[1.0] * window], "forecasts": [[[1.0, 2.0, 3.0, 4.0, 5.0]] * horizon]},
    }
    unshared: Document = json.loads(json.dumps(reduced))
    return unshared


def parse(document: Document) -> Manifest:
    return Manifest.model_validate_json(json.dumps(document))


# Valid manifests


@pytest.mark.parametrize("name", ["default", "tutorial"])
def test_shipped_manifest_round_trip_is_identical(shipped: Path, name: str) -> None:
    """Unset fields are left out: a field added later must not change an earlier manifest."""
    text = manifest_text(shipped, name)
    assert Manifest.model_validate_json(text).model_dump_json(indent=1, exclude_unset=True) + "\n" == text


def test_manifest_without_later_fields_gets_defaults(document: Document) -> None:
    for score in document["evidence"]["scores"]:
        for newer in FIELDS_ADDED_LATER:
            score.pop(newer, None)
    document.pop("curve", None)
    manifest = parse(document)
    assert manifest.curve is None
    for row in manifest.evidence.scores:
        assert row.seen
        assert [getattr(row, name) for name in ("mase", "direction", "crps")] == [None] * 3
        assert (row.folds, row.point_baselines, row.interval_baselines, row.pit) == ([], [], [], [])
        assert (row.coverage_interval, row.coverage_by_volatility, row.winkler) == ({}, [], {})


def test_curve_non_finite_loss_becomes_none(document: Document) -> None:
    document["curve"] = {"loss": [1.5, None], "validation": [], "best": 0}
    assert parse(document).curve == Curve(loss=[1.5, float("inf")], validation=[], best=0)
    assert Curve(loss=[float("nan"), 2], validation=[], best=1).model_dump(mode="json")["loss"] == [None, 2.0]


def test_manifest_json_begins_with_identity(text: str) -> None:
    assert list(json.loads(text))[:4] == ["format_version", "name", "version", "created"]


@pytest.mark.parametrize("field", ["window", "levels", "files", "name"])
def test_manifest_is_immutable(document: Document, field: str) -> None:
    manifest = parse(document)
    with pytest.raises(ValidationError, match="frozen"):
        setattr(manifest, field, getattr(manifest, field))


@pytest.mark.parametrize(
    ("levels", "quantiles"),
    [
        ([], [0.5]),
        ([50], [0.25, 0.5, 0.75]),
        ([50, 80, 90, 95], [0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975]),
        ([1, 99], [0.005, 0.495, 0.5, 0.505, 0.995]),
    ],
)
def test_quantiles_are_interval_ends_and_median(document: Document, levels: list[int], quantiles: list[float]) -> None:
    document["levels"] = levels
    document["calibration"]["offsets"] = [[0.0] * len(levels)] * document["horizon"]
    document["golden"]["forecasts"] = [[[1.0] * len(quantiles)] * document["horizon"]]
    assert parse(document).quantiles == pytest.approx(quantiles, rel=1e-12)


def test_quantiles_have_two_per_level_plus_median(text: str) -> None:
    manifest = Manifest.model_validate_json(text)
    quantiles = manifest.model_copy(update={"levels": list(range(1, 100))}).quantiles
    assert len(quantiles) == 199
    assert quantiles[99] == 0.5
    assert quantiles == sorted(quantiles)


@pytest.mark.parametrize(
    ("transform", "expected"),
    [
        ({"kind": "minmax_price"}, MinMaxPriceParameters()),
        ({"kind": "log_return"}, LogReturnParameters(decay=0.94, winsor=8.0, floor=1e-6, clip=10.0)),
        ({"kind": "log_return", "clip": 3}, LogReturnParameters(clip=3.0)),
    ],
)
def test_transform_kind_selects_parameters(document: Document, transform: Document, expected: object) -> None:
    assert parse(document | {"transform": transform}).transform == expected


def test_reduced_document_is_valid(document: Document) -> None:
    assert parse(document).levels == [80, 95]


# Invalid manifests


def replace_at(*path: str | int, value: object) -> Callable[[Document], None]:
    """Return a change that sets the value at `path`."""

    def change(document: Document) -> None:
        *parents, last = path
        parent: Any = document
        for key in parents:
            parent = parent[key]
        parent[last] = value

    return change


def remove_at(*path: str | int) -> Callable[[Document], None]:
    """Return a change that removes the value at `path`."""

    def change(document: Document) -> None:
        *parents, last = path
        parent: Any = document
        for key in parents:
            parent = parent[key]
        del parent[last]

    return change


INVALID: dict[str, tuple[Callable[[Document], None], str]] = {
    "decreasing levels": (replace_at("levels", value=[95, 80]), "levels must be in increasing order, without repeats"),
    "repeated levels": (replace_at("levels", value=[80, 80]), "levels must be in increasing order, without repeats"),
    "a level of 0": (replace_at("levels", value=[0, 80]), "greater than or equal to 1"),
    "a level of 100": (replace_at("levels", value=[80, 100]), "less than or equal to 99"),
    "a fractional level": (replace_at("levels", value=[80, 95.5]), "valid integer"),
    "a window of one price": (replace_at("window", value=1), "greater than or equal to 2"),
    "no horizon": (replace_at("horizon", value=0), "greater than or equal to 1"),
    "offsets for too few horizons": (remove_at("calibration", "offsets", 0), "calibration.offsets must be"),
    "offsets for too few levels": (replace_at("calibration", "offsets", 0, value=[0.0]), "rows of 2"),
    "offsets for too many levels": (replace_at("calibration", "offsets", 0, value=[0.0, 0.1, 0.2]), "rows of 2"),
    "a NaN offset": (replace_at("calibration", "offsets", 0, value=[0.0, float("nan")]), "finite number"),
    "an unknown center": (replace_at("calibration", "center", value="mean"), "calibration.center"),
    "no golden windows": (replace_at("golden", value={"windows": [], "forecasts": []}), "at least one"),
    "a golden window without a forecast": (replace_at("golden", "forecasts", value=[]), "as many forecasts as windows"),
    "a short golden window": (remove_at("golden", "windows", 0, 0), "every golden window must have"),
    "a golden forecast with too few horizons": (
        remove_at("golden", "forecasts", 0, 0),
        "every golden forecast must be",
    ),
    "a golden forecast with too few quantiles": (remove_at("golden", "forecasts", 0, 0, 0), "rows of 5"),
    "an infinite golden price": (replace_at("golden", "windows", 0, 0, value=float("inf")), "finite number"),
    "no model.keras": (remove_at("files", "model.keras"), "files must name model.keras"),
    "no model.onnx": (remove_at("files", "model.onnx"), "files must name model.onnx"),
    "no scaler.joblib": (remove_at("files", "scaler.joblib"), "files must name scaler.joblib"),
    "no files": (replace_at("files", value={}), "files must name model.keras, model.onnx, scaler.joblib"),
    "a short digest": (replace_at("files", "model.onnx", "sha256", value="ab" * 31), "string_pattern_mismatch"),
    "an upper-case digest": (replace_at("files", "model.onnx", "sha256", value="AB" * 32), "string_pattern_mismatch"),
    "a negative size": (replace_at("files", "model.onnx", "size_bytes", value=-1), "greater than or equal to 0"),
    "an unknown field": (replace_at("comment", value="hello"), "Extra inputs are not permitted"),
    "an unknown nested field": (replace_at("calibration", "comment", value=1), "Extra inputs are not permitted"),
    "an unknown format version": (replace_at("format_version", value=2), "format_version"),
    "an unknown transform": (replace_at("transform", value={"kind": "rank"}), "transform"),
    "a transform without a kind": (replace_at("transform", value={}), "transform"),
    "a decay of 1": (replace_at("transform", value={"kind": "log_return", "decay": 1}), "less than 1"),
    "a winsor of 1": (replace_at("transform", value={"kind": "log_return", "winsor": 1}), "greater than 1"),
    "a floor of 0": (replace_at("transform", value={"kind": "log_return", "floor": 0}), "greater than 0"),
    "a clip of 0": (replace_at("transform", value={"kind": "log_return", "clip": 0}), "greater than 0"),
    "a parameter of another transform": (
        replace_at("transform", value={"kind": "minmax_price", "clip": 1}),
        "Extra inputs",
    ),
    "a network without parameters": (replace_at("network", "parameters", value=0), "greater than 0"),
    "a range of an unknown quantity": (
        replace_at("training_ranges", 0, "quantity", value="volume"),
        "training_ranges.0.quantity",
    ),
    "an unknown point skill": (replace_at("evidence", "point_skill", value="a little"), "evidence.point_skill"),
    "no creation time": (remove_at("created"), "Field required"),
}


@pytest.mark.parametrize("case", INVALID)
def test_manifest_inconsistent_document_is_rejected(document: Document, case: str) -> None:
    change, reason = INVALID[case]
    change(document)
    with pytest.raises(ValidationError) as caught:
        parse(document)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    "name", ["", "Default", "-default", "_default", "de fault", "../default", "a/b", "a.b", "a" * 65, "name\n", "ä"]
)
def test_manifest_invalid_name_is_rejected(document: Document, name: str) -> None:
    with pytest.raises(ValidationError, match="name"):
        parse(document | {"name": name})


@pytest.mark.parametrize("name", ["a", "default", "0-day_x", "a" * 64])
def test_manifest_valid_name_is_accepted(document: Document, name: str) -> None:
    assert parse(document | {"name": name}).name == name


@pytest.mark.parametrize("version", ["", "0", "01", "-1", "1.0", "v1", "1\n", "²", "1234567890", 1])
def test_manifest_invalid_version_is_rejected(document: Document, version: object) -> None:
    with pytest.raises(ValidationError, match="version"):
        parse(document | {"version": version})


@pytest.mark.parametrize("name", ["", ".hidden", "..", "../model.onnx", "a/b", "a\\b", "-x", "a b", "a\n", "a\0"])
def test_manifest_invalid_file_name_is_rejected(document: Document, name: str) -> None:
    document["files"][name] = document["files"]["model.onnx"]
    with pytest.raises(ValidationError, match="files"):
        parse(document)
