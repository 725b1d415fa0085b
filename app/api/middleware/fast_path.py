"""The express lane: a few operations, run without the layers that FastAPI puts between them and the server."""

from collections.abc import Iterable

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.problems import answer


class FastPathMiddleware:
    """Runs operations that take the bare request at once, and leaves all else to the application behind.

    They are FastAPI operations like any other, and documented as such; FastAPI would run them with the same result. But
    its layers (matching of routes, dependencies, exit stacks, four middlewares) take longer than such an operation.
    """

    def __init__(self, app: ASGIApp, routes: Iterable[BaseRoute]) -> None:
        """
        Args:
            routes: of operations that take a `Request` and nothing else, at paths without parameters.
        """
        self._app = app
        operations = (route for route in routes if isinstance(route, APIRoute))
        self._routes = {(method, route.path): route for route in operations for method in route.methods or ()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = self._routes.get((scope["method"], scope["path"])) if scope["type"] == "http" else None
        if route is None:
            await self._app(scope, receive, send)
            return
        scope["route"] = route
        request = Request(scope, receive, send)
        try:
            response = await route.endpoint(request)
        except Exception as error:
            response = await answer(request, error)
        await response(scope, receive, send)
