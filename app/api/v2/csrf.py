"""Protection against cross-site request forgery (CSRF)."""

from collections.abc import Mapping, Sequence

from app.errors import Forbidden


def reject_cross_origin(headers: Mapping[bytes, bytes], allowed_origins: Sequence[str]) -> None:
    """Reject requests that a browser sends for a page of another origin.

    Call this in operations that do not require the content type JSON. Browsers send such requests without a CORS
    preflight, so any website could use a visitor's browser to call a server that only the visitor can reach.

    Args:
        headers: Request headers with lower-case names.
        allowed_origins: Allowed origins besides the server's own. `*` allows all.

    Raises:
        Forbidden: The request comes from another origin.
    """
    origin = headers.get(b"origin", b"").decode("latin-1")
    host = headers.get(b"host", b"").decode("latin-1")
    is_same_origin = not origin or origin.partition("://")[2] == host
    if not is_same_origin and origin not in allowed_origins and "*" not in allowed_origins:
        raise Forbidden("cross-origin requests are rejected, except from the origins in PRICECAST_CORS_ORIGINS")
