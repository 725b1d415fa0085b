"""Domain errors. `app/api/problems.py` maps each class to an HTTP status.

PricecastError
├── InvalidContent        the request body is malformed or invalid; lists every invalid field
├── BodyTooLarge          the body exceeds the size limit
├── UnsupportedMediaType  the body is not JSON, or its content encoding is not supported
├── InvalidHeader         a header has an invalid value
├── Unauthorized          the API key is missing, unknown or expired
├── Forbidden             the API key lacks the permission, or the request comes from another origin
├── UnknownModel          the requested model or version is not served
├── Unavailable           the request failed for now; says when to retry
│   ├── NotReady          the model is not loaded, or its batcher has stopped
│   ├── Overloaded        the queue is full, or too long for the request's deadline
│   ├── Draining          the server is shutting down
│   ├── RateLimited       the client exceeds its request rate
│   └── TooManyWindows    the client exceeds its limit of windows in flight
├── DeadlineExceeded      the deadline passed before the answer was ready
│   └── BodyTooSlow       the deadline passed before the body was received
├── EngineFailed          the engine could not compute the forecast
└── ArtifactError         an artifact is invalid and must not be served; names the file and the reason
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class FieldError:
    """One invalid field of a request.

    Attributes:
        pointer: JSON pointer (RFC 6901) into the request body; empty for the whole body.
        detail: What is wrong with the field.
        id: The client's own id of the series that contains the field, if the client sent one.
    """

    pointer: str
    detail: str
    id: str | None = None


class PricecastError(Exception):
    """Base class of all domain errors. Its message is written for clients and operators."""


class InvalidContent(PricecastError):
    """The request body is malformed or invalid."""

    def __init__(self, field_errors: Sequence[FieldError]) -> None:
        """Build the message from the first field error and the number of the others.

        Args:
            field_errors: Every invalid field, in the order of the request. At least one.
        """
        self.field_errors = tuple(field_errors)
        first = self.field_errors[0]
        more = f" (and {len(self.field_errors) - 1} more)" if len(self.field_errors) > 1 else ""
        super().__init__(f"{first.pointer or 'the body'}: {first.detail}{more}")


class BodyTooLarge(PricecastError):
    """The body exceeds the size limit."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"the body exceeds the limit of {limit_bytes} bytes")


class UnsupportedMediaType(PricecastError):
    """The body is not JSON, or its content encoding is not supported."""


class InvalidHeader(PricecastError):
    """A header has an invalid value."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name}: {reason}")


class Unauthorized(PricecastError):
    """The API key is missing, unknown or expired."""


class Forbidden(PricecastError):
    """The API key is valid but lacks the required permission, or the request comes from another origin."""


class UnknownModel(PricecastError):
    """The requested model or version is not served."""


class Unavailable(PricecastError):
    """The request cannot be answered now and may be retried later."""

    def __init__(self, detail: str, retry_after_s: float = 1.0) -> None:
        """Keep the delay next to the message.

        Args:
            detail: The message for the client.
            retry_after_s: Seconds after which a retry is worthwhile.
        """
        self.retry_after_s = retry_after_s
        super().__init__(detail)


class NotReady(Unavailable):
    """The model is not loaded, or its batcher has stopped."""


class Overloaded(Unavailable):
    """The queue is full, or too long for the request's deadline."""


class Draining(Unavailable):
    """The server is shutting down."""


class RateLimited(Unavailable):
    """The client exceeds its request rate."""


class TooManyWindows(Unavailable):
    """The client exceeds its limit of windows in flight."""


class DeadlineExceeded(PricecastError):
    """The deadline passed before the answer was ready."""


class BodyTooSlow(DeadlineExceeded):
    """The deadline passed before the body was received."""

    def __init__(self, deadline_s: float) -> None:
        super().__init__(f"the body was not received within {deadline_s:g} s")


class EngineFailed(PricecastError):
    """The engine could not compute the forecast."""


class ArtifactError(PricecastError):
    """An artifact is invalid and must not be served."""

    def __init__(self, path: Path, reason: str) -> None:
        """Keep the file and the reason apart: clients are shown the reason but not the full path.

        Args:
            path: The invalid file or directory.
            reason: What is wrong with it.
        """
        self.path = path
        self.reason = reason
        super().__init__(f"{path}: {reason}")
