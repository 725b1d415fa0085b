"""The limits of one client: its request rate, and its number of windows in flight."""

from app.errors import RateLimited, TooManyWindows

BURST_S = 1.0  # a client may send the requests of this many seconds at once


class ClientLimiter:
    """Enforces the limits of one client. All keys of a client share its limits.

    Args:
        name: Name of the client.
        requests_per_s: Maximum request rate. 0 means unlimited.
        max_windows: Maximum number of windows in flight. 0 means unlimited.
    """

    def __init__(self, name: str, requests_per_s: float, max_windows: int) -> None:
        self.name = name
        self._requests_per_s = requests_per_s
        self._max_windows = max_windows
        self._windows_in_flight = 0
        self._theoretical_arrival_s = 0.0  # when the next request would arrive if the client kept exactly to its rate

    def count_request(self, now_s: float) -> None:
        """Count a request against the rate, using the generic cell rate algorithm (ITU-T I.371).

        Args:
            now_s: Current time of a monotonic clock, in seconds.

        Raises:
            RateLimited: The client exceeds its rate. The request is not counted.
        """
        if self._requests_per_s:
            ahead_s = max(self._theoretical_arrival_s - now_s, 0.0)
            excess_s = ahead_s + 1 / self._requests_per_s - max(BURST_S, 1 / self._requests_per_s)
            if excess_s > 1e-9:
                raise RateLimited(f"client {self.name} exceeds {self._requests_per_s:g} requests per second", excess_s)
            self._theoretical_arrival_s = now_s + ahead_s + 1 / self._requests_per_s

    def acquire(self, windows: int) -> None:
        """Count windows as in flight until they are released.

        Raises:
            TooManyWindows: The client would have too many windows in flight. None of them are counted.
        """
        if 0 < self._max_windows < self._windows_in_flight + windows:
            raise TooManyWindows(
                f"this request would exceed the limit of {self._max_windows} windows in flight for client {self.name}"
            )
        self._windows_in_flight += windows

    def release(self, windows: int) -> None:
        """Release windows that were acquired."""
        self._windows_in_flight -= windows
