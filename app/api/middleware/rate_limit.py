"""Limits for one client: requests per second, and windows in flight."""

from app.errors import RateLimited, TooManyWindows

BURST_S = 1.0  # as much as a rate allows in this time may come at once


class ClientLimiter:
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

    def count_request(self, now_s: float) -> None:
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

    def acquire(self, windows: int) -> None:
        """Counts windows until they are given back.

        Raises:
            TooManyWindows: more than may be in flight at once.
        """
        if 0 < self._max_windows < self._windows + windows:
            raise TooManyWindows(f"more than {self._max_windows} windows in flight of {self.name}")
        self._windows += windows

    def release(self, windows: int) -> None:
        self._windows -= windows
