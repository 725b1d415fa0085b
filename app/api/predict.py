"""POST /predict and POST /predict/batch: one mechanism, for one window or for many."""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import ValidationError
from pydantic_core import to_json
from starlette.requests import ClientDisconnect

from app import errors
from app.api import Models, WindowBatcher
from app.api.body import documented_body, faults_of, read_body
from app.api.faults import MOST_FAULTS, Asked, asked_in, batch_faults, choice_faults, read_windows, refuse_oversize
from app.api.problems import documented
from app.api.schemas import BatchRequest, BatchResponse, PredictRequest, PredictResponse
from app.artifact.manifest import Manifest, columns_of
from app.artifact.transform import F64
from app.errors import InvalidContent
from app.registry import Model
from app.settings import Settings

FAILURES = documented(
    errors.UnknownModel, errors.BodyTooLarge, errors.UnsupportedMediaType, errors.InvalidContent,
    errors.EngineFailed, errors.NotReady, errors.Overloaded, errors.Draining, errors.DeadlineExceeded,
)  # fmt: skip


def router(registry: Models, settings: Settings) -> APIRouter:
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
        raw = await read_body(request, settings.max_body_bytes)
        try:
            body = PredictRequest.model_validate_json(raw)
        except ValidationError as error:
            raise InvalidContent(faults_of(error)[:MOST_FAULTS]) from None
        model = registry.get(body.model)
        [answer] = await _answers(request, model, body, [Asked("", None, body.prices)], settings.deadline_s)
        return _json(answer | {"model": _version(model.manifest)})

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
        raw = await read_body(request, settings.max_body_bytes)
        try:
            body = BatchRequest.model_validate_json(raw)
        except ValidationError as error:
            raise InvalidContent(batch_faults(error, raw, registry, settings.max_request_windows)) from None
        refuse_oversize(len(body.series), settings.max_request_windows)
        model = registry.get(body.model)
        answers = await _answers(request, model, body, asked_in(body.series), settings.deadline_s)
        ids = [{} if series.id is None else {"id": series.id} for series in body.series]
        forecasts = [each | answer for each, answer in zip(ids, answers, strict=True)]
        return _json({"forecasts": forecasts, "model": _version(model.manifest)})

    return routes


async def _answers(
    request: Request,
    model: Model[WindowBatcher],
    body: PredictRequest | BatchRequest,
    series: Sequence[Asked],
    deadline_s: float,
) -> list[dict[str, Any]]:
    """One answer for each series, in order.

    Raises:
        InvalidContent: names every fault of the request that the model's manifest and transform can find.
    """
    windows, faults = read_windows(model, series)
    if faults := choice_faults(model.manifest, body.horizon, body.levels) + faults:
        raise InvalidContent(faults)
    forecasts = await _unless_gone(request, model.runner.submit(list(windows), deadline_s))
    warnings = model.forecaster.warnings(windows)
    answers = []
    for quantiles, warned in zip(forecasts, warnings, strict=True):
        answer = _select(quantiles[: body.horizon], model.manifest.levels, body.levels)
        answers.append(answer | {"warnings": [{"code": w.code, "detail": w.detail} for w in warned]})
    return answers


async def _unless_gone(request: Request, forecasting: Coroutine[Any, Any, list[F64]]) -> list[F64]:
    """The forecasts; or they are given up as soon as the client has gone, so that nobody waits behind them.

    Raises:
        ClientDisconnect: there is nobody to answer.
    """
    forecasts = asyncio.create_task(forecasting)
    gone = asyncio.ensure_future(request.receive())  # the body has been read: what comes next is the disconnect
    try:
        await asyncio.wait((forecasts, gone), return_when=asyncio.FIRST_COMPLETED)
        if not forecasts.done():
            raise ClientDisconnect
        return forecasts.result()
    finally:
        forecasts.cancel()
        gone.cancel()


def _select(quantiles: F64, published: Sequence[int], levels: Sequence[int]) -> dict[str, Any]:
    """What of (h, Q) quantiles of prices was asked for."""
    columns = quantiles.T.tolist()  # (Q, h)
    answer: dict[str, Any] = {"forecast": columns[len(published)]}
    if levels:
        ends = {level: columns_of(level, published) for level in levels}
        answer["intervals"] = {
            str(level): {"lower": columns[lower], "upper": columns[upper]} for level, (lower, upper) in ends.items()
        }
    return answer


def _version(manifest: Manifest) -> dict[str, str]:
    return {"name": manifest.name, "version": manifest.version}


def _json(content: dict[str, Any]) -> Response:
    return Response(to_json(content), media_type="application/json")
