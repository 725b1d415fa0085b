"""What is wrong with a forecast request: every fault, at its place, before anything is computed."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from pydantic import ValidationError
from pydantic_core import from_json

from app.api import Models, WindowBatcher
from app.api.body import faults_of
from app.api.schemas import Series
from app.artifact.manifest import Manifest
from app.artifact.transform import F64
from app.errors import Fault, InvalidContent, PricecastError
from app.registry import Model

MOST_FAULTS = 100  # beside those of the series, of which each has one at most


class Asked(NamedTuple):
    """One series of a request, and where in the body it stands."""

    pointer: str
    id: str | None
    prices: list[float]


def choice_faults(manifest: Manifest, horizon: int, levels: Sequence[int]) -> list[Fault]:
    faults = []
    if horizon > manifest.horizon:
        faults.append(Fault("/horizon", f"this model forecasts 1 to {manifest.horizon} steps ahead"))
    offered = ", ".join(map(str, manifest.levels)) or "none"
    for i, level in enumerate(levels):
        if level not in manifest.levels:
            faults.append(Fault(f"/levels/{i}", f"this model has no interval of that level; it has {offered}"))
        elif level in levels[:i]:
            faults.append(Fault(f"/levels/{i}", "this level was asked for already"))
    return faults


def series_faults(model: Model[WindowBatcher], series: Sequence[Asked]) -> list[Fault]:
    """Each series that is too short, has another's id, or has a price that the model cannot take."""
    size = model.manifest.window
    faults: dict[int, Fault] = {}
    ids: dict[str, str] = {}
    for i, asked in enumerate(series):
        if asked.id is not None and (first := ids.setdefault(asked.id, asked.pointer)) != asked.pointer:
            faults[i] = Fault(f"{asked.pointer}/id", f"{first} has this id already", asked.id)
        elif len(asked.prices) < size:
            detail = f"{len(asked.prices)} prices; this model needs at least {size}"
            faults[i] = Fault(f"{asked.pointer}/prices", detail, asked.id)
    whole = [i for i in range(len(series)) if i not in faults]
    if whole:
        windows = windows_of([series[i] for i in whole], size)
        for row, index, reason in model.forecaster.faults(windows):
            asked = series[whole[row]]
            place = len(asked.prices) - size + index
            faults[whole[row]] = Fault(f"{asked.pointer}/prices/{place}", reason, asked.id)
    return [faults[i] for i in sorted(faults)]


def batch_faults(error: ValidationError, raw: bytes, registry: Models, limit: int) -> list[Fault]:
    """Every bad series of a body that is not as the schema says: also those whose prices only the model refuses."""
    try:
        content = from_json(raw)
    except ValueError:  # not even JSON
        return faults_of(error)
    sent = content.get("series") if isinstance(content, dict) else None
    items = sent if isinstance(sent, list) else []
    refuse_oversize(len(items), limit)
    whole = [fault for fault in faults_of(error) if not fault.pointer.startswith("/series/")]
    by_place: dict[int, Fault] = {}
    good: dict[int, Series] = {}
    for i, item in enumerate(items):
        try:
            good[i] = Series.model_validate(item)
        except ValidationError as wrong:
            fault = faults_of(wrong)[0]
            name = item.get("id") if isinstance(item, dict) else None
            by_place[i] = Fault(f"/series/{i}{fault.pointer}", fault.detail, name if isinstance(name, str) else None)
    try:
        model = registry.get(content.get("model"))
    except (PricecastError, AttributeError):  # which model is among the faults already
        return whole[:MOST_FAULTS] + list(by_place.values())
    asked = [Asked(f"/series/{i}", series.id, series.prices) for i, series in good.items()]
    places = {each.pointer: i for i, each in zip(good, asked, strict=True)}
    for fault in series_faults(model, asked):
        by_place[places["/".join(fault.pointer.split("/")[:3])]] = fault
    return whole[:MOST_FAULTS] + [by_place[i] for i in sorted(by_place)]


def refuse_oversize(series: int, limit: int) -> None:
    if series > limit:
        raise InvalidContent([Fault("/series", f"{series} series; one request may have {limit}")])


def asked(series: Sequence[Series]) -> list[Asked]:
    return [Asked(f"/series/{i}", each.id, each.prices) for i, each in enumerate(series)]


def windows_of(series: Sequence[Asked], size: int) -> F64:
    """(B, W): the last `size` prices of each."""
    return np.array([asked.prices[-size:] for asked in series], dtype=np.float64)
