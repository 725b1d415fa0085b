"""GET /health/live and /health/ready, for whoever restarts the process and whoever sends it traffic."""

from collections.abc import Callable

from fastapi import APIRouter

from app import errors
from app.api.problems import documented
from app.api.schemas import Health


def router(unready_reason: Callable[[], str | None]) -> APIRouter:
    """
    Args:
        unready_reason: why requests should not be sent here now; None where they may.
    """
    routes = APIRouter(prefix="/health", tags=["health"])

    @routes.get("/live", summary="Is the process alive?")
    async def live() -> Health:
        """Answers as long as the process can answer at all; no reason to restart it while it does."""
        return Health(status="live")

    @routes.get("/ready", summary="May traffic be sent here?", responses=documented(errors.NotReady))
    async def ready() -> Health:
        """200 when the default model is loaded, verified and warm, and the server is not on its way out."""
        if (reason := unready_reason()) is not None:
            raise errors.NotReady(reason)
        return Health(status="ready")

    return routes
