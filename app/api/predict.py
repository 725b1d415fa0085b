"""The forecast endpoints: `POST /predict` for one series and `POST /predict/batch` for many."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from fastapi import APIRouter, Request, Response
from pydantic import ValidationError
from pydantic_core import to_json

from app import errors
from app.api.pipeline import RequestPipeline
from app.api.problems import error_responses
from app.api.request_body import openapi_request_body, parse_json, require_json
from app.api.schemas import BatchRequest, BatchResponse, PredictRequest, PredictResponse
from app.api.validation import (
    RequestedSeries,
    batch_field_errors,
    extract_windows,
    query_field_errors,
    requested_series,
    require_max_series,
)
from app.artifact.manifest import interval_columns
from app.errors import InvalidContent
from app.inference.forecaster import WindowForecast
from app.serving.model_runner import ModelRegistry, ServedModel
from app.settings import Settings

ERROR_RESPONSES = error_responses(
    errors.InvalidHeader, errors.UnknownModel, errors.TooManyWindows, errors.EngineFailed, errors.NotReady,
    errors.Overloaded, errors.Draining, errors.DeadlineExceeded,
)  # fmt: skip


class ForecastQuery(NamedTuple):
    """A validated forecast request.

    It holds only what the response needs, so that the body and the price lists are freed while the request waits.
    """

    model: ServedModel
    horizon: int
    levels: Sequence[int]
    ids: list[str | None]
    windows: list[bytes]


def router(registry: ModelRegistry, pipeline: RequestPipeline, settings: Settings) -> APIRouter:
    """Create the forecast routes."""
    routes = APIRouter(tags=["forecasts"])

    @routes.post(
        "/predict",
        summary="Forecast one series",
        response_model=PredictResponse,
        response_model_exclude_none=True,
        responses=ERROR_RESPONSES,
        openapi_extra=openapi_request_body(PredictRequest),
    )
    async def predict(request: Request) -> Response:
        """Forecast the next prices of a series: the median and, for each requested level, a prediction interval."""
        raw, deadline_s = await _read(request)
        pipeline.reject_early(raw, 1, deadline_s)
        query = _predict_query(raw, registry)
        [forecast] = await _forecasts(request, query, deadline_s)
        return _json_response(forecast | {"model": _model_version(query)})

    @routes.post(
        "/predict/batch",
        summary="Forecast many series",
        response_model=BatchResponse,
        response_model_exclude_none=True,
        responses=ERROR_RESPONSES,
        openapi_extra=openapi_request_body(BatchRequest),
    )
    async def predict_batch(request: Request) -> Response:
        """Forecast many series, up to `PRICECAST_MAX_REQUEST_WINDOWS`. The forecasts are in request order.

        If any series is invalid, the whole request fails with status 422, and `errors` lists every invalid series.
        """
        raw, deadline_s = await _read(request)
        pipeline.reject_early(raw, min(raw.count(b'"prices"'), settings.max_request_windows), deadline_s)
        query = _batch_query(raw, registry, settings.max_request_windows)
        forecasts = await _forecasts(request, query, deadline_s)
        ids = [{} if series_id is None else {"id": series_id} for series_id in query.ids]
        series_forecasts = [id_field | forecast for id_field, forecast in zip(ids, forecasts, strict=True)]
        return _json_response({"forecasts": series_forecasts, "model": _model_version(query)})

    async def _read(request: Request) -> tuple[bytes, float]:
        """Return the body and the time left until the deadline, in seconds."""
        headers = dict(request.scope["headers"])
        require_json(headers)
        return await pipeline.read(request, headers)

    async def _forecasts(request: Request, query: ForecastQuery, deadline_s: float) -> list[dict[str, Any]]:
        """Return one forecast per series, in order."""
        forecasts = await pipeline.submit(request, query.model, query.windows, deadline_s)
        return [_render(forecast, query) for forecast in forecasts]

    return routes


def _predict_query(raw: bytes, registry: ModelRegistry) -> ForecastQuery:
    body = parse_json(PredictRequest, raw)
    return _validate(registry, body, [RequestedSeries("", None, body.prices)])


def _batch_query(raw: bytes, registry: ModelRegistry, max_series: int) -> ForecastQuery:
    try:
        body = BatchRequest.model_validate_json(raw)
    except ValidationError as error:
        raise InvalidContent(batch_field_errors(error, raw, registry, max_series)) from None
    require_max_series(len(body.series), max_series)
    return _validate(registry, body, requested_series(body.series))


def _validate(
    registry: ModelRegistry, body: PredictRequest | BatchRequest, series: Sequence[RequestedSeries]
) -> ForecastQuery:
    """Resolve the model and check the request against it.

    Raises:
        InvalidContent: The model does not support the request. Reports every error.
        UnknownModel: The model is not served.
        NotReady: The model could not be loaded.
    """
    model = registry.get(body.model)
    windows, window_errors = extract_windows(model, series)
    if field_errors := query_field_errors(model.manifest, body.horizon, body.levels) + window_errors:
        raise InvalidContent(field_errors)
    return ForecastQuery(model, body.horizon, body.levels, [each.id for each in series], windows)


def _render(forecast: WindowForecast, query: ForecastQuery) -> dict[str, Any]:
    """Select the requested steps and levels, in the form of the `Forecast` schema."""
    model_levels = query.model.manifest.levels
    columns = forecast.quantiles[: query.horizon].T.tolist()  # (Q, h)
    rendered: dict[str, Any] = {"forecast": columns[len(model_levels)]}
    if query.levels:
        bounds = {level: interval_columns(level, model_levels) for level in query.levels}
        rendered["intervals"] = {
            str(level): {"lower": columns[lower], "upper": columns[upper]} for level, (lower, upper) in bounds.items()
        }
    rendered["warnings"] = [{"code": warning.code, "detail": warning.detail} for warning in forecast.warnings]
    return rendered


def _model_version(query: ForecastQuery) -> dict[str, str]:
    manifest = query.model.manifest
    return {"name": manifest.name, "version": manifest.version}


def _json_response(content: dict[str, Any]) -> Response:
    return Response(to_json(content), media_type="application/json")
