"""Who is asking, whether they may, and how much at once."""

import re
import time
from collections.abc import Callable, Mapping, Sequence

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from app import keys
from app.api.problems import answer
from app.errors import Forbidden, PricecastError, RateLimited, TooManyWindows, Unauthorized
from app.keys import Key

OPEN = re.compile(r"/|/docs|/openapi\.json|/static-offline-docs/.*|(/v2)?/health/(live|ready)")
EVERYONE = "anonymous"  # where no keys are asked for
BURST_S = 1.0  # as much as a rate allows in this time may come at once


class Client:
    """What one client uses: requests lately, windows now. Several keys may be one client's."""

    def __init__(self, name: str, requests_per_s: float, max_windows: int) -> None:
        """
        Args:
            requests_per_s, max_windows: 0 for any number.
        """
        self.name = name
        self._requests_per_s = requests_per_s
        self._max_windows = max_windows
        self._windows = 0
        self._even_s = 0.0  # when requests at the allowed rate would have come to as many

    def came(self, now_s: float) -> None:
        """Counts a request (the generic cell rate algorithm, ITU-T I.371).

        Raises:
            RateLimited: there were too many lately; this one does not count.
        """
        if self._requests_per_s:
            ahead_s = max(self._even_s - now_s, 0.0)
            too_soon_s = ahead_s + 1 / self._requests_per_s - max(BURST_S, 1 / self._requests_per_s)
            if too_soon_s > 1e-9:
                raise RateLimited(f"more than {self._requests_per_s:g} requests per second of {self.name}", too_soon_s)
            self._even_s = now_s + ahead_s + 1 / self._requests_per_s

    def take(self, windows: int) -> None:
        """Counts windows until they are given back.

        Raises:
            TooManyWindows: more than may be in flight at once.
        """
        if 0 < self._max_windows < self._windows + windows:
            raise TooManyWindows(f"more than {self._max_windows} windows in flight of {self.name}")
        self._windows += windows

    def give_back(self, windows: int) -> None:
        self._windows -= windows


def refuse_foreign_pages(headers: Mapping[bytes, bytes], origins: Sequence[str]) -> None:
    """Keeps pages of other sites from what a browser lets them send unasked: a POST that need not be called JSON.

    Args:
        origins: that are welcome, beside this server's own.

    Raises:
        Forbidden: such a page sent this.
    """
    origin = headers.get(b"origin", b"").decode("latin-1")
    own = headers.get(b"host", b"").decode("latin-1")
    if origin and origin.partition("://")[2] != own and origin not in origins and "*" not in origins:
        raise Forbidden("pages of other origins may not do this")


class Access:
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
        key = keys.find(self._all_keys, sent.strip())
        if key is None:
            raise Unauthorized("this key is not known here")
        if key.has_expired():
            raise Unauthorized(f"this key has expired on {key.expires}")
        return key


class Guard:
    """Lets through whoever may ask, known as `scope["state"]["client"]`. Every path is guarded but those in OPEN."""

    def __init__(
        self,
        app: ASGIApp,
        access: Access,
        requests_per_s: float,
        max_windows: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._app = app
        self._access = access
        self._clock = clock
        self._clients = {name: Client(name, requests_per_s, max_windows) for name in access.clients}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not OPEN.fullmatch(scope["path"]):
            try:
                client = scope["state"]["client"] = self._clients[self._access.client(scope)]
                client.came(self._clock())
            except PricecastError as error:
                response = await answer(Request(scope), error)
                await response(scope, receive, send)
                return
        await self._app(scope, receive, send)
