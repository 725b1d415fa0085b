"""Who is asking, whether they may, and how much at once."""

import re
import time
from collections.abc import Callable, Sequence

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from app import api_keys
from app.api.middleware.rate_limit import ClientLimiter
from app.api.problems import answer
from app.api_keys import Key
from app.errors import Forbidden, PricecastError, Unauthorized

OPEN = re.compile(r"/|/docs|/openapi\.json|/static-offline-docs/.*|(/v2)?/health/(live|ready)")
EVERYONE = "anonymous"  # where no keys are asked for


class Authenticator:
    """Whose keys open what."""

    def __init__(self, api_keys: Sequence[Key], admin_keys: Sequence[Key]) -> None:
        """
        Args:
            api_keys: none for a service that is open to all, who are one client.
            admin_keys: none where all may administer an open service, or nobody any other.
        """
        self._all_keys = [*api_keys, *admin_keys]
        self._admin_keys = admin_keys
        self._is_open = not api_keys

    @property
    def clients(self) -> set[str]:
        """The names of all."""
        return {EVERYONE, *(key.client for key in self._all_keys)}

    def client(self, scope: Scope) -> str:
        """The name of whoever sent a request.

        Raises:
            Unauthorized: nobody may who is not known.
        """
        return EVERYONE if self._is_open else self._key(scope).client

    async def administrator(self, request: Request) -> None:
        """A dependency of every operation that changes what is served.

        Raises:
            Unauthorized, Forbidden: whoever asks is none.
        """
        if self._is_open and not self._admin_keys:
            return
        if self._key(request.scope) not in self._admin_keys:
            raise Forbidden("this needs the key of an administrator")

    def _key(self, scope: Scope) -> Key:
        scheme, _, sent = dict(scope["headers"]).get(b"authorization", b"").partition(b" ")
        if scheme.lower() != b"bearer" or not sent:
            raise Unauthorized("this needs a key, sent with the header Authorization: Bearer KEY")
        key = api_keys.find(self._all_keys, sent.strip())
        if key is None:
            raise Unauthorized("this key is not known here")
        if key.has_expired():
            raise Unauthorized(f"this key has expired on {key.expires}")
        return key


class AuthMiddleware:
    """Lets through whoever may ask, known as `scope["state"]["client"]`. Every path is guarded but those in OPEN."""

    def __init__(
        self,
        app: ASGIApp,
        authenticator: Authenticator,
        requests_per_s: float,
        max_windows: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._app = app
        self._authenticator = authenticator
        self._clock = clock
        self._clients = {name: ClientLimiter(name, requests_per_s, max_windows) for name in authenticator.clients}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not OPEN.fullmatch(scope["path"]):
            try:
                client = scope["state"]["client"] = self._clients[self._authenticator.client(scope)]
                client.count_request(self._clock())
            except PricecastError as error:
                response = await answer(Request(scope), error)
                await response(scope, receive, send)
                return
        await self._app(scope, receive, send)
