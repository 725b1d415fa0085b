"""The manifest says what it must, the same after a round trip, and refuses what would mislead a reader."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from app.artifact import store
from app.artifact.evidence import Curve
from app.artifact.manifest import LogReturnTransform, Manifest, MinMaxPriceTransform

Document = dict[str, Any]

OF_LATER = (
    *("seen", "mase", "rmsse", "skill_p_value_nested", "direction", "coverage_interval", "coverage_by_volatility"),
    *("crps", "winkler", "pit", "folds", "point_baselines", "interval_baselines"),
)


def text_of(models: Path, name: str) -> str:
    return (models / name / store.current(models, name) / store.MANIFEST).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def text(shipped: Path) -> str:
    """The manifest of the shipped default model: several horizons, several levels."""
    return text_of(shipped, "default")


@pytest.fixture
def document(text: str) -> Document:
    """The same, to be changed: two levels and one golden window, so that a change is easily said."""
    found: Document = json.loads(text)
    window, horizon = found["window"], found["horizon"]
    found |= {
        "levels": [80, 95],
        "calibration": {"center": "network", "offsets": [[0.0, 0.1]] * horizon},
        "golden": {"windows": [[1.0] * window], "forecasts": [[[1.0, 2.0, 3.0, 4.0, 5.0]] * horizon]},
    }
    unshared: Document = json.loads(json.dumps(found))
    return unshared


def read(document: Document) -> Manifest:
    return Manifest.model_validate_json(json.dumps(document))


# What it says


@pytest.mark.parametrize("name", ["default", "tutorial"])
def test_a_shipped_manifest_survives_a_round_trip_to_the_byte(shipped: Path, name: str) -> None:
    """Without what has been added since: a manifest of before stays as readable as one of today."""
    text = text_of(shipped, name)
    assert Manifest.model_validate_json(text).model_dump_json(indent=1, exclude_unset=True) + "\n" == text


def test_a_manifest_of_before_has_the_evidence_of_before(document: Document) -> None:
    for score in document["evidence"]["scores"]:
        for newer in OF_LATER:
            score.pop(newer, None)
    document.pop("curve", None)
    found = read(document)
    assert found.curve is None
    for row in found.evidence.scores:
        assert row.seen
        assert [getattr(row, name) for name in ("mase", "direction", "crps")] == [None] * 3
        assert (row.folds, row.point_baselines, row.interval_baselines, row.pit) == ([], [], [], [])
        assert (row.coverage_interval, row.coverage_by_volatility, row.winkler) == ({}, [], {})


def test_a_loss_that_is_no_number_is_none(document: Document) -> None:
    document["curve"] = {"loss": [1.5, None], "validation": [], "best": 0}
    assert read(document).curve == Curve(loss=[1.5, float("inf")], validation=[], best=0)
    assert Curve(loss=[float("nan"), 2], validation=[], best=1).model_dump(mode="json")["loss"] == [None, 2.0]


def test_a_manifest_begins_with_what_it_is(text: str) -> None:
    assert list(json.loads(text))[:4] == ["format_version", "name", "version", "created"]


@pytest.mark.parametrize("field", ["window", "levels", "files", "name"])
def test_a_manifest_cannot_be_changed(document: Document, field: str) -> None:
    manifest = read(document)
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
def test_quantiles_are_the_ends_of_each_level_around_the_median(
    document: Document, levels: list[int], quantiles: list[float]
) -> None:
    document["levels"] = levels
    document["calibration"]["offsets"] = [[0.0] * len(levels)] * document["horizon"]
    document["golden"]["forecasts"] = [[[1.0] * len(quantiles)] * document["horizon"]]
    assert read(document).quantiles == pytest.approx(quantiles, rel=1e-12)


def test_every_set_of_levels_has_two_quantiles_each_and_the_median(text: str) -> None:
    manifest = Manifest.model_validate_json(text)
    every = manifest.model_copy(update={"levels": list(range(1, 100))}).quantiles
    assert len(every) == 199
    assert every[99] == 0.5
    assert every == sorted(every)


@pytest.mark.parametrize(
    ("transform", "expected"),
    [
        ({"kind": "minmax_price"}, MinMaxPriceTransform()),
        ({"kind": "log_return"}, LogReturnTransform(decay=0.94, winsor=8.0, floor=1e-6, clip=10.0)),
        ({"kind": "log_return", "clip": 3}, LogReturnTransform(clip=3.0)),
    ],
)
def test_the_kind_decides_which_transform_is_meant(document: Document, transform: Document, expected: object) -> None:
    assert read(document | {"transform": transform}).transform == expected


def test_the_example_is_accepted(document: Document) -> None:
    assert read(document).levels == [80, 95]


# What it refuses


def put(*path: str | int, value: object) -> Callable[[Document], None]:
    """A change: the place `path` holds `value`."""

    def change(document: Document) -> None:
        *parents, last = path
        place: Any = document
        for parent in parents:
            place = place[parent]
        place[last] = value

    return change


def drop(*path: str | int) -> Callable[[Document], None]:
    """A change: the place `path` is gone."""

    def change(document: Document) -> None:
        *parents, last = path
        place: Any = document
        for parent in parents:
            place = place[parent]
        del place[last]

    return change


REFUSED: dict[str, tuple[Callable[[Document], None], str]] = {
    "levels that fall": (put("levels", value=[95, 80]), "levels must rise and not repeat"),
    "levels that repeat": (put("levels", value=[80, 80]), "levels must rise and not repeat"),
    "a level of 0": (put("levels", value=[0, 80]), "greater than or equal to 1"),
    "a level of 100": (put("levels", value=[80, 100]), "less than or equal to 99"),
    "a level between": (put("levels", value=[80, 95.5]), "valid integer"),
    "a window of one price": (put("window", value=1), "greater than or equal to 2"),
    "no horizon": (put("horizon", value=0), "greater than or equal to 1"),
    "offsets of too few horizons": (drop("calibration", "offsets", 0), "calibration.offsets must be"),
    "offsets of too few levels": (put("calibration", "offsets", 0, value=[0.0]), "rows of 2"),
    "offsets of too many levels": (put("calibration", "offsets", 0, value=[0.0, 0.1, 0.2]), "rows of 2"),
    "an offset that is no number": (put("calibration", "offsets", 0, value=[0.0, float("nan")]), "finite number"),
    "another centre": (put("calibration", "center", value="mean"), "calibration.center"),
    "no golden window": (put("golden", value={"windows": [], "forecasts": []}), "at least one"),
    "a golden window without forecast": (put("golden", "forecasts", value=[]), "as many forecasts as windows"),
    "a golden window too short": (drop("golden", "windows", 0, 0), "every golden window must have"),
    "a golden forecast of too few horizons": (drop("golden", "forecasts", 0, 0), "every golden forecast must be"),
    "a golden forecast of too few quantiles": (drop("golden", "forecasts", 0, 0, 0), "rows of 5"),
    "an infinite golden price": (put("golden", "windows", 0, 0, value=float("inf")), "finite number"),
    "no model.keras": (drop("files", "model.keras"), "files must name model.keras"),
    "no model.onnx": (drop("files", "model.onnx"), "files must name model.onnx"),
    "no scaler.joblib": (drop("files", "scaler.joblib"), "files must name scaler.joblib"),
    "no file": (put("files", value={}), "files must name model.keras, model.onnx, scaler.joblib"),
    "a digest too short": (put("files", "model.onnx", "sha256", value="ab" * 31), "string_pattern_mismatch"),
    "a digest in capitals": (put("files", "model.onnx", "sha256", value="AB" * 32), "string_pattern_mismatch"),
    "a size below zero": (put("files", "model.onnx", "size_bytes", value=-1), "greater than or equal to 0"),
    "an unknown field": (put("comment", value="hello"), "Extra inputs are not permitted"),
    "an unknown field deep inside": (put("calibration", "comment", value=1), "Extra inputs are not permitted"),
    "an unknown format version": (put("format_version", value=2), "format_version"),
    "an unknown transform": (put("transform", value={"kind": "rank"}), "transform"),
    "a transform without kind": (put("transform", value={}), "transform"),
    "a decay of 1": (put("transform", value={"kind": "log_return", "decay": 1}), "less than 1"),
    "a winsor of 1": (put("transform", value={"kind": "log_return", "winsor": 1}), "greater than 1"),
    "a floor of 0": (put("transform", value={"kind": "log_return", "floor": 0}), "greater than 0"),
    "a clip of 0": (put("transform", value={"kind": "log_return", "clip": 0}), "greater than 0"),
    "a parameter of another transform": (put("transform", value={"kind": "minmax_price", "clip": 1}), "Extra inputs"),
    "a network of nothing": (put("network", "parameters", value=0), "greater than 0"),
    "a range of another quantity": (
        put("training_ranges", 0, "quantity", value="volume"),
        "training_ranges.0.quantity",
    ),
    "a point skill between": (put("evidence", "point_skill", value="a little"), "evidence.point_skill"),
    "no date": (drop("created"), "Field required"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_would_mislead_is_refused(document: Document, case: str) -> None:
    change, reason = REFUSED[case]
    change(document)
    with pytest.raises(ValidationError) as caught:
        read(document)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    "name", ["", "Default", "-default", "_default", "de fault", "../default", "a/b", "a.b", "a" * 65, "name\n", "ä"]
)
def test_a_bad_model_name_is_refused(document: Document, name: str) -> None:
    with pytest.raises(ValidationError, match="name"):
        read(document | {"name": name})


@pytest.mark.parametrize("name", ["a", "default", "0-day_x", "a" * 64])
def test_a_good_model_name_is_accepted(document: Document, name: str) -> None:
    assert read(document | {"name": name}).name == name


@pytest.mark.parametrize("version", ["", "0", "01", "-1", "1.0", "v1", "1\n", "²", "1234567890", 1])
def test_a_bad_version_is_refused(document: Document, version: object) -> None:
    with pytest.raises(ValidationError, match="version"):
        read(document | {"version": version})


@pytest.mark.parametrize("name", ["", ".hidden", "..", "../model.onnx", "a/b", "a\\b", "-x", "a b", "a\n", "a\0"])
def test_a_bad_file_name_is_refused(document: Document, name: str) -> None:
    document["files"][name] = document["files"]["model.onnx"]
    with pytest.raises(ValidationError, match="files"):
        read(document)
