"""POST /predict and POST /predict/batch: one mechanism, for one window or for many."""

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import ValidationError
from pydantic_core import to_json

from app import errors
from app.api import Models, WindowBatcher
from app.api.body import documented_body, faults_of, read_body
from app.api.client import WhileThere
from app.api.faults import MOST_FAULTS, Asked, asked_in, batch_faults, choice_faults, read_windows, refuse_oversize
from app.api.problems import documented
from app.api.schemas import BatchRequest, BatchResponse, PredictRequest, PredictResponse
from app.artifact.manifest import Manifest, columns_of
from app.errors import InvalidContent
from app.forecaster import Answer
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
    with WhileThere(request):
        answers = await model.runner.submit(windows, deadline_s)
    return [_select(answer, body.horizon, model.manifest.levels, body.levels) for answer in answers]


def _select(answer: Answer, horizon: int, published: Sequence[int], levels: Sequence[int]) -> dict[str, Any]:
    """What was asked for, of what the model says."""
    columns = answer.quantiles[:horizon].T.tolist()  # (Q, h)
    selected: dict[str, Any] = {"forecast": columns[len(published)]}
    if levels:
        ends = {level: columns_of(level, published) for level in levels}
        selected["intervals"] = {
            str(level): {"lower": columns[lower], "upper": columns[upper]} for level, (lower, upper) in ends.items()
        }
    selected["warnings"] = [{"code": warning.code, "detail": warning.detail} for warning in answer.warnings]
    return selected


def _version(manifest: Manifest) -> dict[str, str]:
    return {"name": manifest.name, "version": manifest.version}


def _json(content: dict[str, Any]) -> Response:
    return Response(to_json(content), media_type="application/json")
