"""How a request's windows get to a model: by when, how many at once, and only while somebody waits for the answer."""

import asyncio
from collections.abc import Callable, Mapping, Sequence

from starlette.requests import Request

from app.api.middleware.auth import EVERYONE
from app.api.middleware.rate_limit import ClientLimiter
from app.api.request_body import RequestBodyReader
from app.api.timeouts import CancelOnDisconnect, TimeoutScheduler
from app.errors import BodyTooSlow, InvalidHeader, Overloaded, PricecastError
from app.inference.forecaster import WindowForecast
from app.serving.model_runner import ModelRegistry, ServedModel

TIMEOUT = b"x-request-timeout-ms"
ENDS_BYTES = 1024  # at either end of a body; what is not series stands there
UNLIMITED = ClientLimiter(EVERYONE, 0, 0)  # where nothing guards the application


class RequestPipeline:
    """Decides on every request that asks for forecasts."""

    def __init__(
        self,
        registry: ModelRegistry,
        body_reader: RequestBodyReader,
        timeouts: TimeoutScheduler,
        deadline_s: float,
        on_warning: Callable[[str], None],
    ) -> None:
        """
        Args:
            deadline_s: of requests that state none, and the longest that one may state.
            on_warning: is told the code of each warning in an answer.
        """
        self._registry = registry
        self._body_reader = body_reader
        self._timeouts = timeouts
        self._deadline_s = deadline_s
        self._on_warning = on_warning

    async def read(self, request: Request, headers: Mapping[bytes, bytes]) -> tuple[bytes, float]:
        """The body, and how long the client is ready to wait from now.

        Raises:
            InvalidHeader: the client says something else than a time.
            PricecastError: as `RequestBodyReader.read`.
        """
        deadline_s = self._stated_s(headers)
        clock = asyncio.get_running_loop().time
        began_s = clock()
        raw = await self._body_reader.read(request, headers, deadline_s)
        left_s = deadline_s - (clock() - began_s)
        if left_s <= 0:  # it came before the next tick
            raise BodyTooSlow(deadline_s)
        return raw, left_s

    def reject_early(self, raw: bytes, windows: int, deadline_s: float) -> None:
        """Refuses a request for the default model before it is parsed, which may cost as much as to answer it.

        Raises:
            Overloaded: the answer would come too late.
        """
        try:
            self._registry.get().runner.reject_early(windows, deadline_s)
        except Overloaded:
            names_none = b'"model"' not in raw[:ENDS_BYTES] and b'"model"' not in raw[-ENDS_BYTES:]  # as far as is seen
            if names_none:
                raise
        except PricecastError:
            return  # which is told when the request is known to be faultless

    async def answers(
        self, request: Request, model: ServedModel, windows: Sequence[bytes], deadline_s: float
    ) -> list[WindowForecast]:
        """One answer for each window, in order.

        Raises:
            ClientDisconnect: nobody waits for them any more.
            TooManyWindows: of this client.
            Exception: as `Batcher.submit`.
        """
        client = request.scope["state"].get("client", UNLIMITED)
        client.acquire(len(windows))
        try:
            with CancelOnDisconnect(request, self._timeouts):
                answers = await model.runner.submit(windows, deadline_s)
        finally:
            client.release(len(windows))
        for answer in answers:
            for warning in answer.warnings:
                self._on_warning(warning.code)
        return answers

    def _stated_s(self, headers: Mapping[bytes, bytes]) -> float:
        sent = headers.get(TIMEOUT)
        if sent is None:
            return self._deadline_s
        if not (sent.isdigit() and len(sent) < 10 and int(sent)):
            raise InvalidHeader("X-Request-Timeout-Ms", "it must be a whole number of milliseconds, 1 or more")
        return min(int(sent) / 1000, self._deadline_s)
