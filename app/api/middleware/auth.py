"""Authentication by API key, and the client's rate limit."""

import re
import time
from collections.abc import Callable, Sequence

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from app import api_keys
from app.api.middleware.rate_limit import ClientLimiter
from app.api.problems import error_response
from app.api_keys import Key
from app.errors import Forbidden, PricecastError, Unauthorized

PUBLIC_PATHS = re.compile(r"/|/docs|/openapi\.json|/static-offline-docs/.*|(/v2)?/health/(live|ready)")
ANONYMOUS = "anonymous"  # name of the one client that all requests belong to if authentication is disabled


class Authenticator:
    """Identifies clients by their API key and checks admin permissions.

    Args:
        api_keys: Keys for all operations except admin operations. Empty disables authentication: every request is
            accepted, as the client `ANONYMOUS`.
        admin_keys: Keys for all operations. Empty means that nobody can use the admin operations, unless `api_keys`
            is empty too: then every client can.
    """

    def __init__(self, api_keys: Sequence[Key], admin_keys: Sequence[Key]) -> None:
        self._all_keys = [*api_keys, *admin_keys]
        self._admin_keys = admin_keys
        self._is_open = not api_keys

    @property
    def client_names(self) -> set[str]:
        """Names of all clients, including `ANONYMOUS`."""
        return {ANONYMOUS, *(key.client for key in self._all_keys)}

    def client_name(self, scope: Scope) -> str:
        """Return the name of the client that sent a request.

        Raises:
            Unauthorized: Authentication is enabled, and the request has no valid key.
        """
        return ANONYMOUS if self._is_open else self._key(scope).client

    async def require_admin(self, request: Request) -> None:
        """Check that the request has an admin key. This is the dependency of the admin operations.

        Raises:
            Unauthorized: The request has no valid key.
            Forbidden: The key is not an admin key.
        """
        if self._is_open and not self._admin_keys:
            return
        if self._key(request.scope) not in self._admin_keys:
            raise Forbidden("this operation requires an admin key")

    def _key(self, scope: Scope) -> Key:
        scheme, _, token = dict(scope["headers"]).get(b"authorization", b"").partition(b" ")
        if scheme.lower() != b"bearer" or not token:
            raise Unauthorized("an API key is required: send it as the header Authorization: Bearer KEY")
        key = api_keys.find(self._all_keys, token.strip())
        if key is None:
            raise Unauthorized("the API key is not valid on this server")
        if key.has_expired():
            raise Unauthorized(f"the API key expired on {key.expires}")
        return key


class AuthMiddleware:
    """Rejects requests without a valid key or above the client's rate, except on `PUBLIC_PATHS`.

    Sets `scope["state"]["client"]` to the client's limiter.

    Args:
        app: The application behind the middleware.
        authenticator: Identifies the client.
        requests_per_s: Maximum request rate of one client. 0 means unlimited.
        max_windows: Maximum number of windows that one client may have in flight. 0 means unlimited.
        clock: Monotonic clock, in seconds.
    """

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
        self._limiters = {name: ClientLimiter(name, requests_per_s, max_windows) for name in authenticator.client_names}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Authenticate HTTP requests; pass everything else through."""
        if scope["type"] == "http" and not PUBLIC_PATHS.fullmatch(scope["path"]):
            try:
                limiter = scope["state"]["client"] = self._limiters[self._authenticator.client_name(scope)]
                limiter.count_request(self._clock())
            except PricecastError as error:
                response = await error_response(Request(scope), error)
                await response(scope, receive, send)
                return
        await self._app(scope, receive, send)
