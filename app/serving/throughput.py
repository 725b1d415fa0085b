"""ThroughputEstimator: how quickly an engine has worked things off lately, and what that says of what comes next."""

MEMORY = 0.9  # weight of the past in running means: about the last ten calls
PREDICTABLE = 0.65  # of a deadline may be filled by prediction; the rest is for what that misses, as a busy event loop


class ThroughputEstimator:
    """What a batcher learns from its calls. Times are seconds on the batcher's clock."""

    def __init__(self) -> None:
        self.windows_per_s = 0.0  # of one lane; 0 until the first call has ended
        self._queue_windows_per_s = (
            0.0  # of all concurrent_calls, while there is a queue; 0 until one has been worked off
        )
        self._queue_windows = 0.0
        self._queue_s = 0.0
        self._queue_from: float | None = None  # when a call first left a queue behind, and all since have
        self._queue_until = 0.0  # when the last did

    def call_ended(self, windows: int, started: float, ended: float, *, failed: bool, leaves_queue: bool) -> None:
        """Takes note of an engine call."""
        if ended > started and not failed:
            rate = windows / (ended - started)
            self.windows_per_s = _mean(self.windows_per_s, rate)
            if self._queue_from is not None:  # of what was begun before, only that part which was done since
                part = (ended - max(started, self._queue_from)) / (ended - started)
                self._worked_off(windows * part, ended - self._queue_until)
            elif 0 < self._queue_windows_per_s < rate:  # taken for too low, it kept queues from coming about
                self._worked_off(windows, ended - started)
        if leaves_queue:
            self._queue_from = ended if self._queue_from is None else self._queue_from
            self._queue_until = ended
        else:
            self._queue_from = None

    def predicted_overrun_s(self, ahead: int, windows: int, deadline_s: float) -> float:
        """How much earlier a request should have come to be answered in time; 0 if it is not too late.

        While nothing is ahead nothing is too late, or a rate once taken for too low would never be measured again.

        Args:
            ahead: windows that wait or are being computed.
            windows: of the request.
        """
        if not ahead or not self._queue_windows_per_s:
            return 0.0
        return max(0.0, (ahead + windows) / self._queue_windows_per_s - PREDICTABLE * deadline_s)

    def drain_time_s(self, waiting: int, concurrent_calls: int) -> float:
        """When so many concurrent_calls will have worked a queue off; 1 where nothing is known."""
        rate = self.windows_per_s * concurrent_calls
        return waiting / rate if rate else 1.0

    def _worked_off(self, windows: float, seconds: float) -> None:
        """
        Args:
            seconds: since others were; 0 where these were done together with them.
        """
        if seconds or self._queue_s:
            self._queue_windows = MEMORY * self._queue_windows + windows
            self._queue_s = MEMORY * self._queue_s + seconds
            self._queue_windows_per_s = self._queue_windows / self._queue_s


def _mean(before: float, now: float) -> float:
    """A running mean; 0 stands for none yet."""
    return MEMORY * before + (1 - MEMORY) * now if before else now
