"""Rejects cross-origin requests that a browser would send without asking first."""

from collections.abc import Mapping, Sequence

from app.errors import Forbidden


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
