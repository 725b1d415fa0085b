"""The request pipeline: deadlines, early rejection, client limits and submission to the model's batcher."""

import asyncio
from collections.abc import Callable, Mapping, Sequence

from starlette.requests import Request

from app.api.middleware.auth import ANONYMOUS
from app.api.middleware.rate_limit import ClientLimiter
from app.api.request_body import RequestBodyReader
from app.api.timeouts import CancelOnDisconnect, TimeoutScheduler, requested_timeout_s
from app.errors import BodyTooSlow, Overloaded, PricecastError
from app.inference.forecaster import WindowForecast
from app.serving.model_runner import ModelRegistry, ServedModel

MODEL_FIELD_SEARCH_BYTES = 1024  # searched at the start and at the end of a body, because the prices are in between
UNLIMITED = ClientLimiter(ANONYMOUS, 0, 0)  # used when the application runs without AuthMiddleware


class RequestPipeline:
    """Carries a forecast request from its body to the model's batcher.

    Args:
        registry: Served models.
        body_reader: Reads request bodies.
        timeouts: Schedules the watch for client disconnects.
        deadline_s: Deadline of requests without `X-Request-Timeout-Ms`, and the upper bound for that header.
        on_warning: Called with the code of each forecast warning.
    """

    def __init__(
        self,
        registry: ModelRegistry,
        body_reader: RequestBodyReader,
        timeouts: TimeoutScheduler,
        deadline_s: float,
        on_warning: Callable[[str], None],
    ) -> None:
        self._registry = registry
        self._body_reader = body_reader
        self._timeouts = timeouts
        self._deadline_s = deadline_s
        self._on_warning = on_warning

    async def read(self, request: Request, headers: Mapping[bytes, bytes]) -> tuple[bytes, float]:
        """Read the body and return it with the time left until the deadline, in seconds.

        Raises:
            InvalidHeader: `X-Request-Timeout-Ms` is invalid.
            PricecastError: See `RequestBodyReader.read`.
        """
        timeout_s = requested_timeout_s(headers, self._deadline_s)
        clock = asyncio.get_running_loop().time
        started_s = clock()
        raw = await self._body_reader.read(request, headers, timeout_s)
        remaining_s = timeout_s - (clock() - started_s)
        if remaining_s <= 0:  # the body arrived late, but before the scheduler's next tick
            raise BodyTooSlow(timeout_s)
        return raw, remaining_s

    def reject_early(self, raw: bytes, windows: int, deadline_s: float) -> None:
        """Reject a request before it is parsed, because parsing may cost as much as the forecast.

        The default model's queue decides, unless the body may name another model.

        Args:
            raw: The request body.
            windows: Estimated number of windows in the body.
            deadline_s: Time left until the deadline.

        Raises:
            Overloaded: The request is predicted to miss its deadline.
        """
        try:
            self._registry.get().runner.reject_early(windows, deadline_s)
        except Overloaded:
            start, end = raw[:MODEL_FIELD_SEARCH_BYTES], raw[-MODEL_FIELD_SEARCH_BYTES:]
            may_name_another_model = b'"model"' in start or b'"model"' in end  # whose queue may be shorter
            if not may_name_another_model:
                raise
        except PricecastError:
            return  # reported after validation, so that an invalid request gets its 422

    async def submit(
        self, request: Request, model: ServedModel, windows: Sequence[bytes], deadline_s: float
    ) -> list[WindowForecast]:
        """Forecast the windows and return one forecast per window, in order.

        Raises:
            ClientDisconnect: The client closed the connection.
            TooManyWindows: The client has too many windows in flight.
            Exception: See `Batcher.submit`.
        """
        limiter = request.scope["state"].get("client", UNLIMITED)
        limiter.acquire(len(windows))
        try:
            with CancelOnDisconnect(request, self._timeouts):
                forecasts = await model.runner.submit(windows, deadline_s)
        finally:
            limiter.release(len(windows))
        for forecast in forecasts:
            for warning in forecast.warnings:
                self._on_warning(warning.code)
        return forecasts
