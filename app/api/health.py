"""Health endpoints: the liveness and readiness probes.

`app.lifecycle.Lifecycle.unready_reason` decides whether the server is ready.
"""

from collections.abc import Callable

from fastapi import APIRouter

from app import errors
from app.api.problems import error_responses
from app.api.schemas import Health


def router(unready_reason: Callable[[], str | None]) -> APIRouter:
    """Create the routes under `/health`.

    Args:
        unready_reason: Returns why the server should receive no traffic, or None if it is ready.
    """
    routes = APIRouter(prefix="/health", tags=["health"])

    @routes.get("/live", summary="Liveness probe")
    async def live() -> Health:
        """Return 200 while the process can respond. Restart the process if this probe fails."""
        return Health(status="live")

    @routes.get("/ready", summary="Readiness probe", responses=error_responses(errors.NotReady))
    async def ready() -> Health:
        """Return 200 if the default model is loaded and the server is not shutting down. Otherwise, return 503."""
        if (reason := unready_reason()) is not None:
            raise errors.NotReady(reason)
        return Health(status="ready")

    return routes
