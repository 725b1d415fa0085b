"""POST /predict and POST /predict/batch: one mechanism, for one window or for many."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from fastapi import APIRouter, Request, Response
from pydantic import ValidationError
from pydantic_core import to_json

from app import errors
from app.api.pipeline import RequestPipeline
from app.api.problems import documented
from app.api.request_body import check_json, documented_body, parse
from app.api.schemas import BatchRequest, BatchResponse, PredictRequest, PredictResponse
from app.api.validation import (
    RequestedSeries,
    asked_in,
    batch_field_errors,
    query_field_errors,
    read_windows,
    refuse_oversize,
)
from app.artifact.manifest import interval_columns
from app.errors import InvalidContent
from app.inference.forecaster import WindowForecast
from app.serving.model_runner import ModelRegistry, ServedModel
from app.settings import Settings

FAILURES = documented(
    errors.InvalidHeader, errors.UnknownModel, errors.TooManyWindows, errors.EngineFailed, errors.NotReady,
    errors.Overloaded, errors.Draining, errors.DeadlineExceeded,
)  # fmt: skip


def router(registry: ModelRegistry, pipeline: RequestPipeline, settings: Settings) -> APIRouter:
    """The routes, on the models of `registry`."""
    routes = APIRouter(tags=["forecasts"])

    @routes.post(
        "/predict",
        summary="Forecast one series",
        response_model=PredictResponse,
        response_model_exclude_none=True,
        responses=FAILURES,
        openapi_extra=documented_body(PredictRequest),
    )
    async def predict(request: Request) -> Response:
        """The next prices after the ones sent: the median, and on request the intervals around it."""
        raw, deadline_s = await _read(request)
        pipeline.reject_early(raw, 1, deadline_s)
        query = _one(raw, registry)
        [answer] = await _answers(request, query, deadline_s)
        return _json(answer | {"model": _version(query)})

    @routes.post(
        "/predict/batch",
        summary="Forecast many series",
        response_model=BatchResponse,
        response_model_exclude_none=True,
        responses=FAILURES,
        openapi_extra=documented_body(BatchRequest),
    )
    async def predict_batch(request: Request) -> Response:
        """All series are answered, in order, or the request is refused and every bad series named."""
        raw, deadline_s = await _read(request)
        pipeline.reject_early(raw, min(raw.count(b'"prices"'), settings.max_request_windows), deadline_s)
        query = _many(raw, registry, settings.max_request_windows)
        answers = await _answers(request, query, deadline_s)
        ids = [{} if name is None else {"id": name} for name in query.ids]
        forecasts = [each | answer for each, answer in zip(ids, answers, strict=True)]
        return _json({"forecasts": forecasts, "model": _version(query)})

    async def _read(request: Request) -> tuple[bytes, float]:
        headers = dict(request.scope["headers"])
        check_json(headers)
        return await pipeline.read(request, headers)

    async def _answers(request: Request, query: ForecastQuery, deadline_s: float) -> list[dict[str, Any]]:
        """One answer for each series, in order."""
        answers = await pipeline.answers(request, query.model, query.windows, deadline_s)
        return [_select(answer, query) for answer in answers]

    return routes


class ForecastQuery(NamedTuple):
    """A request while it waits: all that its answer needs, and no more the text and the lists of prices it came as."""

    model: ServedModel
    horizon: int
    levels: Sequence[int]
    ids: list[str | None]
    windows: list[bytes]


def _one(raw: bytes, registry: ModelRegistry) -> ForecastQuery:
    body = parse(PredictRequest, raw)
    return _query(registry, body, [RequestedSeries("", None, body.prices)])


def _many(raw: bytes, registry: ModelRegistry, limit: int) -> ForecastQuery:
    try:
        body = BatchRequest.model_validate_json(raw)
    except ValidationError as error:
        raise InvalidContent(batch_field_errors(error, raw, registry, limit)) from None
    refuse_oversize(len(body.series), limit)
    return _query(registry, body, asked_in(body.series))


def _query(
    registry: ModelRegistry, body: PredictRequest | BatchRequest, series: Sequence[RequestedSeries]
) -> ForecastQuery:
    """
    Raises:
        InvalidContent: names every fault of the request that the model's manifest and transform can find.
    """
    model = registry.get(body.model)
    windows, field_errors = read_windows(model, series)
    if field_errors := query_field_errors(model.manifest, body.horizon, body.levels) + field_errors:
        raise InvalidContent(field_errors)
    return ForecastQuery(model, body.horizon, body.levels, [asked.id for asked in series], windows)


def _select(answer: WindowForecast, query: ForecastQuery) -> dict[str, Any]:
    """What was asked for, of what the model says."""
    published = query.model.manifest.levels
    columns = answer.quantiles[: query.horizon].T.tolist()  # (Q, h)
    selected: dict[str, Any] = {"forecast": columns[len(published)]}
    if query.levels:
        ends = {level: interval_columns(level, published) for level in query.levels}
        selected["intervals"] = {
            str(level): {"lower": columns[lower], "upper": columns[upper]} for level, (lower, upper) in ends.items()
        }
    selected["warnings"] = [{"code": warning.code, "detail": warning.detail} for warning in answer.warnings]
    return selected


def _version(query: ForecastQuery) -> dict[str, str]:
    manifest = query.model.manifest
    return {"name": manifest.name, "version": manifest.version}


def _json(content: dict[str, Any]) -> Response:
    return Response(to_json(content), media_type="application/json")
