"""What is wrong with a forecast request: every fault, at its place, before anything is computed."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pydantic import ValidationError
from pydantic_core import from_json

from app.api import Models, ServedModel
from app.api.body import MOST_FAULTS, faults_of
from app.api.schemas import Series
from app.artifact.manifest import Manifest
from app.errors import Fault, InvalidContent, PricecastError
from app.forecaster import pack


class Asked(NamedTuple):
    """One series of a request, and where in the body it stands."""

    pointer: str
    id: str | None
    prices: list[float]


def horizon_faults(manifest: Manifest, horizon: int | None, pointer: str = "/horizon") -> list[Fault]:
    if horizon is None or horizon <= manifest.horizon:
        return []
    return [Fault(pointer, f"this model forecasts 1 to {manifest.horizon} steps ahead")]


def choice_faults(manifest: Manifest, horizon: int, levels: Sequence[int]) -> list[Fault]:
    faults = horizon_faults(manifest, horizon)
    offered = ", ".join(map(str, manifest.levels)) or "none"
    for i, level in enumerate(levels):
        if level not in manifest.levels:
            faults.append(Fault(f"/levels/{i}", f"this model has no interval of that level; it has {offered}"))
        elif level in levels[:i]:
            faults.append(Fault(f"/levels/{i}", "this level was asked for already"))
    return faults


def read_windows(model: ServedModel, series: Iterable[Asked]) -> tuple[list[bytes], list[Fault]]:
    """The last prices of each series, packed; and what is wrong with the series, at most one fault each.

    A series is at fault that is too short, has another's id, or has a price in its window that the model cannot take.
    Where none is at fault, every series has its window.
    """
    size = model.manifest.window
    windows: list[bytes] = []
    faults: list[Fault] = []
    ids: dict[str, str] = {}
    for pointer, name, prices in series:
        if name is not None and (first := ids.setdefault(name, pointer)) != pointer:
            faults.append(Fault(f"{pointer}/id", f"{first} has this id already", name))
        elif len(prices) < size:
            faults.append(Fault(f"{pointer}/prices", f"{len(prices)} prices; this model needs at least {size}", name))
        elif (found := model.forecaster.fault(window := prices[-size:])) is not None:
            index, reason = found
            faults.append(Fault(f"{pointer}/prices/{len(prices) - size + index}", reason, name))
        else:
            windows.append(pack(window))
    return windows, faults


def batch_faults(error: ValidationError, raw: bytes, registry: Models, limit: int) -> list[Fault]:
    """Every bad series of a body that is not as the schema says: also those whose prices only the model refuses."""
    try:
        content = from_json(raw)
    except ValueError:  # not even JSON
        return faults_of(error)
    sent = content.get("series") if isinstance(content, dict) else None
    items = sent if isinstance(sent, list) else []
    refuse_oversize(len(items), limit)
    rest = [fault for fault in faults_of(error) if not fault.pointer.startswith("/series/")][:MOST_FAULTS]
    bad: list[Fault] = []
    good: list[Asked] = []
    for i, item in enumerate(items):
        try:
            good.append(_asked(i, Series.model_validate(item)))
        except ValidationError as wrong:
            fault = faults_of(wrong)[0]
            name = item.get("id") if isinstance(item, dict) else None
            bad.append(Fault(f"/series/{i}{fault.pointer}", fault.detail, name if isinstance(name, str) else None))
    try:
        model = registry.get(content.get("model"))
    except (PricecastError, AttributeError):  # which model is among the faults already
        return rest + bad
    _, refused = read_windows(model, good)
    return rest + sorted(bad + refused, key=lambda fault: int(fault.pointer.split("/")[2]))


def refuse_oversize(series: int, limit: int) -> None:
    if series > limit:
        raise InvalidContent([Fault("/series", f"{series} series; one request may have {limit}")])


def asked_in(series: Sequence[Series]) -> list[Asked]:
    """The series of a batch, in order."""
    return [_asked(i, each) for i, each in enumerate(series)]


def _asked(i: int, series: Series) -> Asked:
    return Asked(f"/series/{i}", series.id, series.prices)
