"""What is wrong with a forecast request: every fault, at its place, before anything is computed."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pydantic import ValidationError
from pydantic_core import from_json

from app.api.request_body import MAX_FIELD_ERRORS, field_errors_of
from app.api.schemas import Series
from app.artifact.manifest import Manifest
from app.errors import FieldError, InvalidContent, PricecastError
from app.inference.forecaster import pack_window
from app.serving.model_runner import ModelRegistry, ServedModel


class RequestedSeries(NamedTuple):
    """One series of a request, and where in the body it stands."""

    pointer: str
    id: str | None
    prices: list[float]


def horizon_field_errors(manifest: Manifest, horizon: int | None, pointer: str = "/horizon") -> list[FieldError]:
    if horizon is None or horizon <= manifest.horizon:
        return []
    return [FieldError(pointer, f"this model forecasts 1 to {manifest.horizon} steps ahead")]


def query_field_errors(manifest: Manifest, horizon: int, levels: Sequence[int]) -> list[FieldError]:
    field_errors = horizon_field_errors(manifest, horizon)
    offered = ", ".join(map(str, manifest.levels)) or "none"
    for i, level in enumerate(levels):
        if level not in manifest.levels:
            field_errors.append(
                FieldError(f"/levels/{i}", f"this model has no interval of that level; it has {offered}")
            )
        elif level in levels[:i]:
            field_errors.append(FieldError(f"/levels/{i}", "this level was asked for already"))
    return field_errors


def read_windows(model: ServedModel, series: Iterable[RequestedSeries]) -> tuple[list[bytes], list[FieldError]]:
    """The last prices of each series, packed; and what is wrong with the series, at most one fault each.

    A series is at fault that is too short, has another's id, or has a price in its window that the model cannot take.
    Where none is at fault, every series has its window.
    """
    size = model.manifest.window
    windows: list[bytes] = []
    field_errors: list[FieldError] = []
    ids: dict[str, str] = {}
    for pointer, name, prices in series:
        if name is not None and (first := ids.setdefault(name, pointer)) != pointer:
            field_errors.append(FieldError(f"{pointer}/id", f"{first} has this id already", name))
        elif len(prices) < size:
            field_errors.append(
                FieldError(f"{pointer}/prices", f"{len(prices)} prices; this model needs at least {size}", name)
            )
        elif (found := model.forecaster.first_invalid_price(window := prices[-size:])) is not None:
            index, reason = found
            field_errors.append(FieldError(f"{pointer}/prices/{len(prices) - size + index}", reason, name))
        else:
            windows.append(pack_window(window))
    return windows, field_errors


def batch_field_errors(error: ValidationError, raw: bytes, registry: ModelRegistry, limit: int) -> list[FieldError]:
    """Every bad series of a body that is not as the schema says: also those whose prices only the model refuses."""
    try:
        content = from_json(raw)
    except ValueError:  # not even JSON
        return field_errors_of(error)
    sent = content.get("series") if isinstance(content, dict) else None
    items = sent if isinstance(sent, list) else []
    refuse_oversize(len(items), limit)
    rest = [fault for fault in field_errors_of(error) if not fault.pointer.startswith("/series/")][:MAX_FIELD_ERRORS]
    bad: list[FieldError] = []
    good: list[RequestedSeries] = []
    for i, item in enumerate(items):
        try:
            good.append(_asked(i, Series.model_validate(item)))
        except ValidationError as wrong:
            fault = field_errors_of(wrong)[0]
            name = item.get("id") if isinstance(item, dict) else None
            bad.append(FieldError(f"/series/{i}{fault.pointer}", fault.detail, name if isinstance(name, str) else None))
    try:
        model = registry.get(content.get("model"))
    except (PricecastError, AttributeError):  # which model is among the field_errors already
        return rest + bad
    _, refused = read_windows(model, good)
    return rest + sorted(bad + refused, key=lambda fault: int(fault.pointer.split("/")[2]))


def refuse_oversize(series: int, limit: int) -> None:
    if series > limit:
        raise InvalidContent([FieldError("/series", f"{series} series; one request may have {limit}")])


def asked_in(series: Sequence[Series]) -> list[RequestedSeries]:
    """The series of a batch, in order."""
    return [_asked(i, each) for i, each in enumerate(series)]


def _asked(i: int, series: Series) -> RequestedSeries:
    return RequestedSeries(f"/series/{i}", series.id, series.prices)
