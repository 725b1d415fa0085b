"""Estimates engine throughput and predicts queueing delay. Times are seconds on the batcher's clock."""

DECAY = 0.9  # weight of the past in a running mean: roughly the last ten calls count
# Share of a deadline that a predicted latency may use. The rest covers what a prediction misses, such as a busy event
# loop.
PREDICTABLE_SHARE = 0.65


class ThroughputEstimator:
    """Learns from finished engine calls how fast a queue drains, and predicts whether a request can meet its deadline.

    Two rates are kept. `drain_time_s` uses the rate of single calls (`windows_per_s`). Deadlines are predicted from the
    drain rate, which counts the windows that all concurrent calls finish while a queue exists: calls without a queue
    behind them hold few windows and would make the engine look slower than it is.

    Attributes:
        windows_per_s: Running mean of the rate of one engine call; 0 until the first call has succeeded.
    """

    def __init__(self) -> None:
        self.windows_per_s = 0.0
        self._drain_windows_per_s = 0.0  # of all concurrent calls together; 0 until a queue has been measured
        self._drained_windows = 0.0
        self._drained_s = 0.0
        self._queued_since_s: float | None = None  # when the current uninterrupted queue began
        self._queued_until_s = 0.0  # end of the last call that left this queue

    def record_call(self, windows: int, started_s: float, ended_s: float, *, failed: bool, leaves_queue: bool) -> None:
        """Update the estimates with a finished engine call.

        Args:
            windows: Number of windows in the call.
            started_s: When the call started.
            ended_s: When the call ended.
            failed: Whether the call failed; a failed call updates no rate.
            leaves_queue: Whether windows were waiting when the call ended.
        """
        if ended_s > started_s and not failed:
            rate = windows / (ended_s - started_s)
            self.windows_per_s = _running_mean(self.windows_per_s, rate)
            if self._queued_since_s is not None:
                # A call that started before the queue formed counts only for its time since then.
                share = (ended_s - max(started_s, self._queued_since_s)) / (ended_s - started_s)
                self._record_drained(windows * share, ended_s - self._queued_until_s)
            elif 0 < self._drain_windows_per_s < rate:
                # An underestimated rate rejects requests, so no queue forms: without this the estimate never recovers.
                self._record_drained(windows, ended_s - started_s)
        if leaves_queue:
            self._queued_since_s = ended_s if self._queued_since_s is None else self._queued_since_s
            self._queued_until_s = ended_s
        else:
            self._queued_since_s = None

    def predicted_overrun_s(self, windows_ahead: int, windows: int, deadline_s: float) -> float:
        """Return how many seconds the predicted latency exceeds `PREDICTABLE_SHARE` (65%) of the deadline.

        The result is 0 while nothing is ahead of the request. Otherwise an underestimated rate could reject every
        request, so that no call runs and the estimate never recovers.

        Args:
            windows_ahead: Windows that wait or are being computed.
            windows: Windows of the request itself.
            deadline_s: Time from now in which the request must be answered.

        Returns:
            Seconds; 0 if the request is predicted to be answered in time.
        """
        if not windows_ahead or not self._drain_windows_per_s:
            return 0.0
        predicted_s = (windows_ahead + windows) / self._drain_windows_per_s
        return max(0.0, predicted_s - PREDICTABLE_SHARE * deadline_s)

    def drain_time_s(self, waiting: int, concurrent_calls: int) -> float:
        """Predict when a queue will be empty.

        Args:
            waiting: Windows in the queue.
            concurrent_calls: Calls that may run at once.

        Returns:
            Seconds from now; 1 while no rate is known.
        """
        rate = self.windows_per_s * concurrent_calls
        return waiting / rate if rate else 1.0

    def _record_drained(self, windows: float, elapsed_s: float) -> None:
        """Update the drain rate.

        Args:
            windows: Windows that a call has drained.
            elapsed_s: Time since the previous call drained windows; 0 if both ended together.
        """
        if elapsed_s or self._drained_s:
            self._drained_windows = DECAY * self._drained_windows + windows
            self._drained_s = DECAY * self._drained_s + elapsed_s
            self._drain_windows_per_s = self._drained_windows / self._drained_s


def _running_mean(mean: float, value: float) -> float:
    """Fold a value into an exponentially weighted mean; a mean of 0 has no values yet."""
    return DECAY * mean + (1 - DECAY) * value if mean else value
