"""What can go wrong, in the words of forecasting; `api/problems.py` says what each means over HTTP.

PricecastError
├── InvalidContent        the request's content cannot be answered; names every place
├── BodyTooLarge          more bytes than one request may have
├── UnsupportedMediaType  the body is not said to be JSON
├── UnknownModel          no such model, or no such version of it, is served
├── Unavailable           not now, perhaps later; may know when
│   ├── NotReady          the model is not loaded, or its batcher has died
│   ├── Overloaded        the queue is full
│   └── Draining          the server is going away
├── DeadlineExceeded      the answer would come too late
├── EngineFailed          the network could not be computed
└── ArtifactError         an artifact that must not be served; names the file and the reason
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Fault:
    """One thing wrong with a request: a JSON pointer (RFC 6901) into its body, and what is wrong there."""

    pointer: str
    detail: str
    id: str | None = None  # the caller's own name for the series, where it gave one


class PricecastError(Exception):
    """The root. `str(error)` is written for the person who sent the request or runs the server."""


class InvalidContent(PricecastError):
    """The request was understood and cannot be answered.

    Args:
        faults: every place that is wrong, in order; at least one.
    """

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        first = self.faults[0]
        more = f" (and {len(self.faults) - 1} more)" if len(self.faults) > 1 else ""
        super().__init__(f"{first.pointer or 'the body'}: {first.detail}{more}")


class BodyTooLarge(PricecastError):
    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"the body has more than {limit_bytes} bytes, the most that one request may have")


class UnsupportedMediaType(PricecastError):
    def __init__(self) -> None:
        super().__init__("the body must be JSON, sent with the header Content-Type: application/json")


class UnknownModel(PricecastError):
    pass


class Unavailable(PricecastError):
    """Try again later; `retry_after_s` says when, where that can be told."""

    def __init__(self, detail: str, retry_after_s: float = 1.0) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(detail)


class NotReady(Unavailable):
    pass


class Overloaded(Unavailable):
    pass


class Draining(Unavailable):
    pass


class DeadlineExceeded(PricecastError):
    pass


class EngineFailed(PricecastError):
    pass


class ArtifactError(PricecastError):
    """An artifact that must not be served.

    Args:
        path: the file (or the directory) at fault.
        reason: what is wrong with it.
    """

    def __init__(self, path: Path, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"{path}: {reason}")
