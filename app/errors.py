"""What can go wrong, in the words of forecasting; `api/problems.py` says what each means over HTTP.

PricecastError
├── InvalidContent        the request's content cannot be answered; names every place
├── BodyTooLarge          more bytes than one request may have
├── UnsupportedMediaType  the body is not said to be JSON, or is coded in a way that is not read here
├── InvalidHeader         a header that is read here says something it cannot say
├── Unauthorized          no key, or none that is known and still valid
├── Forbidden             a valid key that does not open this
├── UnknownModel          no such model, or no such version of it, is served
├── Unavailable           not now, perhaps later; knows when
│   ├── NotReady          the model is not loaded, or its batcher has died
│   ├── Overloaded        the queue is full, or too long for this request's deadline
│   ├── Draining          the server is going away
│   ├── RateLimited       this client has sent too many requests lately
│   └── TooManyWindows    this client has too many windows in flight
├── DeadlineExceeded      the answer would come too late
│   └── BodyTooSlow       the request itself did not come in time
├── EngineFailed          the network could not be computed
└── ArtifactError         an artifact that must not be served; names the file and the reason
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class FieldError:
    """One thing wrong with a request: a JSON pointer (RFC 6901) into its body, and what is wrong there."""

    pointer: str
    detail: str
    id: str | None = None  # the caller's own name for the series, where it gave one


class PricecastError(Exception):
    """The root. `str(error)` is written for the person who sent the request or runs the server."""


class InvalidContent(PricecastError):
    """The request was understood and cannot be answered.

    Args:
        field_errors: every place that is wrong, in order; at least one.
    """

    def __init__(self, field_errors: Sequence[FieldError]) -> None:
        self.field_errors = tuple(field_errors)
        first = self.field_errors[0]
        more = f" (and {len(self.field_errors) - 1} more)" if len(self.field_errors) > 1 else ""
        super().__init__(f"{first.pointer or 'the body'}: {first.detail}{more}")


class BodyTooLarge(PricecastError):
    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"the body has more than {limit_bytes} bytes, the most that one request may have")


class UnsupportedMediaType(PricecastError):
    pass


class InvalidHeader(PricecastError):
    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name}: {reason}")


class Unauthorized(PricecastError):
    pass


class Forbidden(PricecastError):
    pass


class UnknownModel(PricecastError):
    pass


class Unavailable(PricecastError):
    """Try again later; `retry_after_s` says when."""

    def __init__(self, detail: str, retry_after_s: float = 1.0) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(detail)


class NotReady(Unavailable):
    pass


class Overloaded(Unavailable):
    pass


class Draining(Unavailable):
    pass


class RateLimited(Unavailable):
    pass


class TooManyWindows(Unavailable):
    pass


class DeadlineExceeded(PricecastError):
    pass


class BodyTooSlow(DeadlineExceeded):
    def __init__(self, deadline_s: float) -> None:
        super().__init__(f"the body did not come within {deadline_s:g} s")


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
