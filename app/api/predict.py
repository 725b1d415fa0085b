"""POST /predict and POST /predict/batch: one mechanism, for one window or for many."""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, NamedTuple

import numpy as np
from fastapi import APIRouter, Request, Response
from pydantic import ValidationError
from pydantic_core import from_json, to_json
from starlette.requests import ClientDisconnect

from app import errors
from app.api.body import documented_body, faults_of, read_body
from app.api.problems import documented
from app.api.schemas import BatchRequest, BatchResponse, PredictRequest, PredictResponse, Series
from app.artifact.manifest import Manifest
from app.artifact.transform import F64
from app.batching import Batcher
from app.errors import Fault, InvalidContent, PricecastError
from app.registry import Model, Registry
from app.settings import Settings

WindowBatcher = Batcher[F64, F64]  # (W,) prices in, (H, Q) prices out
Models = Registry[WindowBatcher]

FAILURES = documented(
    errors.UnknownModel, errors.BodyTooLarge, errors.UnsupportedMediaType, errors.InvalidContent,
    errors.EngineFailed, errors.NotReady, errors.Overloaded, errors.Draining, errors.DeadlineExceeded,
)  # fmt: skip


class Asked(NamedTuple):
    """One series of a request, and where in the body it stands."""

    pointer: str
    id: str | None
    prices: list[float]


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
            raise InvalidContent(faults_of(error)[:100]) from None
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
            raise InvalidContent(_batch_faults(error, raw, registry, settings.max_request_windows)) from None
        _refuse_oversize(len(body.series), settings.max_request_windows)
        model = registry.get(body.model)
        answers = await _answers(request, model, body, _asked(body.series), settings.deadline_s)
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
    faults = _choice_faults(model.manifest, body.horizon, body.levels) + _series_faults(model, series)
    if faults:
        raise InvalidContent(faults)
    windows = _windows(series, model.manifest.window)
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
    """What of (h, Q) quantiles of prices was asked for. The median is in the middle, wider levels further out."""
    columns = quantiles.T.tolist()  # (Q, h)
    median = len(published)
    answer: dict[str, Any] = {"forecast": columns[median]}
    if levels:
        distance = {level: 1 + i for i, level in enumerate(published)}
        answer["intervals"] = {
            str(level): {"lower": columns[median - distance[level]], "upper": columns[median + distance[level]]}
            for level in levels
        }
    return answer


def _choice_faults(manifest: Manifest, horizon: int, levels: Sequence[int]) -> list[Fault]:
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


def _series_faults(model: Model[WindowBatcher], series: Sequence[Asked]) -> list[Fault]:
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
        windows = _windows([series[i] for i in whole], size)
        for row, index, reason in model.forecaster.faults(windows):
            asked = series[whole[row]]
            place = len(asked.prices) - size + index
            faults[whole[row]] = Fault(f"{asked.pointer}/prices/{place}", reason, asked.id)
    return [faults[i] for i in sorted(faults)]


def _batch_faults(error: ValidationError, raw: bytes, registry: Models, limit: int) -> list[Fault]:
    """Every bad series of a body that is not as the schema says: also those whose prices only the model refuses."""
    try:
        content = from_json(raw)
    except ValueError:  # not even JSON
        return faults_of(error)
    sent = content.get("series") if isinstance(content, dict) else None
    items = sent if isinstance(sent, list) else []
    _refuse_oversize(len(items), limit)
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
        return whole[:100] + list(by_place.values())
    asked = [Asked(f"/series/{i}", series.id, series.prices) for i, series in good.items()]
    places = {each.pointer: i for i, each in zip(good, asked, strict=True)}
    for fault in _series_faults(model, asked):
        by_place[places["/".join(fault.pointer.split("/")[:3])]] = fault
    return whole[:100] + [by_place[i] for i in sorted(by_place)]


def _refuse_oversize(series: int, limit: int) -> None:
    if series > limit:
        raise InvalidContent([Fault("/series", f"{series} series; one request may have {limit}")])


def _asked(series: Sequence[Series]) -> list[Asked]:
    return [Asked(f"/series/{i}", each.id, each.prices) for i, each in enumerate(series)]


def _windows(series: Sequence[Asked], size: int) -> F64:
    """(B, W): the last `size` prices of each."""
    return np.array([asked.prices[-size:] for asked in series], dtype=np.float64)


def _version(manifest: Manifest) -> dict[str, str]:
    return {"name": manifest.name, "version": manifest.version}


def _json(content: dict[str, Any]) -> Response:
    return Response(to_json(content), media_type="application/json")
