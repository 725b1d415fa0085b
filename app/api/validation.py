"""Validation of forecast requests against the model: every error with its location, before any computation."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pydantic import ValidationError
from pydantic_core import from_json

from app.api.request_body import MAX_FIELD_ERRORS, field_errors_from
from app.api.schemas import BatchSeries
from app.artifact.manifest import Manifest
from app.errors import FieldError, InvalidContent, PricecastError
from app.inference.forecaster import pack_window
from app.serving.model_runner import ModelRegistry, ServedModel


class RequestedSeries(NamedTuple):
    """One price series of a request, with its location in the body."""

    pointer: str
    id: str | None
    prices: list[float]


def requested_series(series: Sequence[BatchSeries]) -> list[RequestedSeries]:
    """Add the location in the body to each series of a batch."""
    return [RequestedSeries(f"/series/{i}", each.id, each.prices) for i, each in enumerate(series)]


def query_field_errors(manifest: Manifest, horizon: int, levels: Sequence[int]) -> list[FieldError]:
    """Check that the model supports the horizon and the levels."""
    field_errors = horizon_field_errors(manifest, horizon)
    available = ", ".join(map(str, manifest.levels)) or "none"
    for i, level in enumerate(levels):
        if level not in manifest.levels:
            field_errors.append(FieldError(f"/levels/{i}", f"not a level of this model; available levels: {available}"))
        elif level in levels[:i]:
            field_errors.append(FieldError(f"/levels/{i}", "duplicate level"))
    return field_errors


def horizon_field_errors(manifest: Manifest, horizon: int | None, pointer: str = "/horizon") -> list[FieldError]:
    """Check that the model supports the horizon. None stands for the model's own horizon."""
    if horizon is None or horizon <= manifest.horizon:
        return []
    return [FieldError(pointer, f"must be between 1 and {manifest.horizon} for this model")]


def extract_windows(model: ServedModel, series: Iterable[RequestedSeries]) -> tuple[list[bytes], list[FieldError]]:
    """Extract and pack the window of each series.

    A series is invalid if it is too short, repeats an earlier id, or has a price in its window that the model cannot
    handle. If no series is invalid, there is one window per series, in order.

    Returns:
        The packed windows of the valid series, and one error for each invalid series.
    """
    window_size = model.manifest.window
    windows: list[bytes] = []
    field_errors: list[FieldError] = []
    pointer_by_id: dict[str, str] = {}
    for pointer, series_id, prices in series:
        if series_id is not None and (first := pointer_by_id.setdefault(series_id, pointer)) != pointer:
            field_errors.append(FieldError(f"{pointer}/id", f"duplicate id, already used by {first}", series_id))
        elif len(prices) < window_size:
            detail = f"got {len(prices)} prices; this model needs at least {window_size}"
            field_errors.append(FieldError(f"{pointer}/prices", detail, series_id))
        elif (invalid := model.forecaster.first_invalid_price(window := prices[-window_size:])) is not None:
            index, reason = invalid
            field_errors.append(FieldError(f"{pointer}/prices/{len(prices) - window_size + index}", reason, series_id))
        else:
            windows.append(pack_window(window))
    return windows, field_errors


def batch_field_errors(
    error: ValidationError, raw: bytes, registry: ModelRegistry, max_series: int
) -> list[FieldError]:
    """Collect every error of a batch body that does not match its schema.

    Series that match the schema are checked against the model, so that one response reports all invalid series.

    Args:
        error: The schema errors of the body.
        raw: The body.
        registry: Served models.
        max_series: Maximum number of series in a request.

    Raises:
        InvalidContent: There are too many series.
    """
    try:
        content = from_json(raw)
    except ValueError:  # not valid JSON
        return field_errors_from(error)
    items = content.get("series") if isinstance(content, dict) else None
    items = items if isinstance(items, list) else []
    require_max_series(len(items), max_series)
    outside_series = [
        field_error for field_error in field_errors_from(error) if not field_error.pointer.startswith("/series/")
    ][:MAX_FIELD_ERRORS]
    schema_errors: list[FieldError] = []
    valid_series: list[RequestedSeries] = []
    for i, item in enumerate(items):
        pointer = f"/series/{i}"
        try:
            series = BatchSeries.model_validate(item)
            valid_series.append(RequestedSeries(pointer, series.id, series.prices))
        except ValidationError as series_error:
            first = field_errors_from(series_error)[0]
            series_id = item.get("id") if isinstance(item, dict) else None
            series_id = series_id if isinstance(series_id, str) else None
            schema_errors.append(FieldError(f"{pointer}{first.pointer}", first.detail, series_id))
    try:
        model = registry.get(content.get("model"))
    except (PricecastError, AttributeError):
        # A malformed model reference is among the schema errors. An unknown model is reported once those are fixed.
        return outside_series + schema_errors
    _, window_errors = extract_windows(model, valid_series)
    return outside_series + sorted(schema_errors + window_errors, key=_series_index)


def require_max_series(series: int, max_series: int) -> None:
    """Check the number of series in a request.

    Raises:
        InvalidContent: There are more than `max_series`.
    """
    if series > max_series:
        raise InvalidContent([FieldError("/series", f"got {series} series; the maximum per request is {max_series}")])


def _series_index(field_error: FieldError) -> int:
    return int(field_error.pointer.split("/")[2])
