"""Security headers, including the Content Security Policy (CSP) of HTML pages."""

import base64
import hashlib
import re

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

INLINE_SCRIPT = re.compile(rb"<script>(.*?)</script>", re.DOTALL)
CSP = (
    "default-src 'none'; script-src 'self'{hashes}; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "font-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
PAGE_HEADERS = {
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}


class SecurityHeadersMiddleware:
    """Adds `X-Content-Type-Options: nosniff` to responses, and a CSP and the `PAGE_HEADERS` to HTML pages.

    The CSP allows a page to run only scripts from this server and the inline scripts it was sent with.

    The responses of `FastPathMiddleware` and the errors of `AuthMiddleware` do not pass through this middleware. They
    are JSON and have none of these headers.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Add the headers to the response."""
        page_start: Message | None = None  # held back until the whole page is known, for the hashes of its scripts
        page = b""

        async def send_with_headers(message: Message) -> None:
            nonlocal page_start, page
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["X-Content-Type-Options"] = "nosniff"
                if headers.get("content-type", "").startswith("text/html"):
                    page_start = message
                    return
            elif page_start is not None:
                page += message.get("body", b"")
                if message.get("more_body", False):
                    return
                headers = MutableHeaders(scope=page_start)
                headers["Content-Security-Policy"] = _csp(page)
                headers.update(PAGE_HEADERS)
                await send(page_start)
                message = {"type": "http.response.body", "body": page}
            await send(message)

        await self._app(scope, receive, send_with_headers)


def _csp(page: bytes) -> str:
    return CSP.format(hashes="".join(map(_hash_source, INLINE_SCRIPT.findall(page))))


def _hash_source(script: bytes) -> str:
    """Return the hash that allows an inline script (W3C Content Security Policy, level 3)."""
    return f" 'sha256-{base64.b64encode(hashlib.sha256(script).digest()).decode()}'"
