"""API keys of the tests."""

from typing import Any, NamedTuple

from app import api_keys


class ApiKey(NamedTuple):
    """A key, and the entry that configures it."""

    key: str
    entry: str


# Alice has two keys, as during a key rotation.
ALICE, ALICE_2, BOB, EXPIRED, ADMIN = (
    ApiKey(*api_keys.generate(name)) for name in ("alice", "alice", "bob", "carol", "root")
)


def parse_keys(*settings: str) -> Any:
    """Parse settings entries, as the server does."""
    return api_keys.parse(",".join(settings))


def bearer(key: ApiKey) -> dict[str, str]:
    """Build the authorization header."""
    return {"authorization": f"Bearer {key.key}"}
