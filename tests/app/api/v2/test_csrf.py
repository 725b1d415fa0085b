"""Tests of the protection against cross-site request forgery."""

from pathlib import Path

import pytest

from app.settings import Settings
from tests.app.api.app_client import running_app


@pytest.mark.parametrize(
    ("origin", "allowed_origins", "status"),
    [
        (None, (), 200), ("http://test", (), 200), ("http://elsewhere", (), 403), ("null", (), 403),
        ("http://elsewhere", ("http://elsewhere",), 200), ("http://elsewhere", ("*",), 200),
    ],
)  # fmt: skip
def test_cross_origin_unload_requires_an_allowed_origin(
    shipped: Path, origin: str | None, allowed_origins: tuple[str, ...], status: int
) -> None:
    with running_app(Settings(models_dir=shipped, cors_origins=allowed_origins)) as client:
        headers = {} if origin is None else {"origin": origin}
        response = client.post("/v2/repository/models/tutorial/unload", headers=headers)
        assert response.status_code == status, response.text
        assert ("tutorial" in client.app.lifecycle.registry.models) == (status == 403)
