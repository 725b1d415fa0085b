"""API keys of the tests."""

from typing import Any

from app import api_keys

# Each is a pair of the key and its entry in the settings. Alice has two keys, as during a key rotation.
ALICE, ALICE_2, BOB, EXPIRED, ADMIN = (api_keys.generate(name) for name in ("alice", "alice", "bob", "carol", "root"))


def parse_keys(*settings: str) -> Any:
    """Parse settings entries, as the server does."""
    return api_keys.parse(",".join(settings))


def bearer(key: tuple[str, str]) -> dict[str, str]:
    """Build the authorization header."""
    return {"authorization": f"Bearer {key[0]}"}
