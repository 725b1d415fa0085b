"""The fast path: runs selected operations directly, bypassing FastAPI's routing, dependencies and middleware."""

from collections.abc import Iterable

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.problems import error_response


class FastPathMiddleware:
    """Runs operations that take only a `Request` directly, and passes all other requests to the application.

    The operations are ordinary FastAPI operations, and FastAPI would produce the same responses. But its layers (route
    matching, dependencies, exit stacks, four middlewares) take longer than such an operation itself. The responses also
    bypass `SecurityHeadersMiddleware`: they are JSON, and lack only its `X-Content-Type-Options: nosniff`.

    Args:
        app: The application behind the middleware.
        routes: Routes of the operations. Each takes a `Request` and nothing else, at a path without parameters.
    """

    def __init__(self, app: ASGIApp, routes: Iterable[BaseRoute]) -> None:
        self._app = app
        api_routes = (route for route in routes if isinstance(route, APIRoute))
        self._routes = {(method, route.path): route for route in api_routes for method in route.methods or ()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the operation if it is on the fast path."""
        route = self._routes.get((scope["method"], scope["path"])) if scope["type"] == "http" else None
        if route is None:
            await self._app(scope, receive, send)
            return
        scope["route"] = route
        request = Request(scope, receive, send)
        try:
            response = await route.endpoint(request)
        except Exception as error:
            response = await error_response(request, error)
        await response(scope, receive, send)
