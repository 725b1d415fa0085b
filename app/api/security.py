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
ADMIN = re.compile(r"/models/[^/]*/load|/v2/repository/models/[^/]*/(load|unload)")
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


class Guard:
    """Lets through whoever may ask, known as `scope["state"]["client"]`.

    Every path needs a key, but for those in OPEN; what changes what is served needs one of an administrator.
    """

    def __init__(
        self,
        app: ASGIApp,
        api_keys: Sequence[Key],
        admin_keys: Sequence[Key],
        requests_per_s: float,
        max_windows: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            api_keys: none for an open service, of which all users are one client.
            admin_keys: none where the service is open to all, or to nobody's administration.
        """
        self._app = app
        self._admin_keys = admin_keys
        self._all_keys = [*api_keys, *admin_keys]
        self._is_open = not api_keys
        self._clock = clock
        names = {EVERYONE, *(key.client for key in self._all_keys)}
        self._clients = {name: Client(name, requests_per_s, max_windows) for name in names}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not OPEN.fullmatch(scope["path"]):
            try:
                client = scope["state"]["client"] = self._clients[self._name(scope)]
                client.came(self._clock())
            except PricecastError as error:
                response = await answer(Request(scope), error)
                await response(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _name(self, scope: Scope) -> str:
        """
        Raises:
            Unauthorized, Forbidden: says what is missing.
        """
        is_admin = ADMIN.fullmatch(scope["path"]) is not None
        if self._is_open and not (is_admin and self._admin_keys):
            return EVERYONE
        scheme, _, sent = dict(scope["headers"]).get(b"authorization", b"").partition(b" ")
        if scheme.lower() != b"bearer" or not sent:
            raise Unauthorized("this needs a key, sent with the header Authorization: Bearer KEY")
        key = keys.find(self._all_keys, sent.strip())
        if key is None:
            raise Unauthorized("this key is not known here")
        if key.has_expired():
            raise Unauthorized(f"this key has expired on {key.expires}")
        if is_admin and key not in self._admin_keys:
            raise Forbidden("this needs the key of an administrator")
        return key.client
