"""API keys: generating, parsing and looking them up.

The settings hold only the SHA-256 digest of each key. A fast hash is safe here because a key is 256 random bits, not a
password that an attacker could guess.
"""

import hashlib
import hmac
import itertools
import re
import secrets
from collections.abc import Iterable
from datetime import UTC, date, datetime
from typing import Annotated, Any, NamedTuple

from pydantic import BeforeValidator
from pydantic_settings import NoDecode

ENTRY_PATTERN = re.compile(
    r"(?P<client>[a-z0-9][a-z0-9_-]{0,63}):(?P<sha256>[0-9a-f]{64})(:(?P<expires>\d{4}-\d\d-\d\d))?"
)


class Key(NamedTuple):
    """One API key of a client. During key rotation a client has two.

    Attributes:
        client: The client's name.
        sha256: The SHA-256 digest of the key.
        expires: The first day (UTC) on which the key is no longer valid, or None if it never expires.
    """

    client: str
    sha256: bytes
    expires: date | None

    def has_expired(self) -> bool:
        """Return whether the key's expiry date has been reached (UTC)."""
        return self.expires is not None and datetime.now(UTC).date() >= self.expires


def generate(client: str) -> tuple[str, str]:
    """Generate a random key for a client.

    Returns:
        The key itself, which goes to the client, and its CLIENT:SHA256 entry, which goes into the settings.
    """
    key = f"pc_{secrets.token_urlsafe(32)}"
    return key, f"{client}:{hashlib.sha256(key.encode()).hexdigest()}"


def find(keys: Iterable[Key], sent: bytes) -> Key | None:
    """Return the entry of the key that a client sent, or None.

    Every entry is compared in constant time, so response times reveal nothing about the keys.
    """
    digest = hashlib.sha256(sent).digest()
    found = None
    for key in keys:
        if hmac.compare_digest(key.sha256, digest):
            found = key
    return found


def split_entries(text: Any) -> Any:
    """Split a string at commas and whitespace. Return anything else unchanged, for pydantic to validate."""
    return tuple(re.findall(r"[^,\s]+", text)) if isinstance(text, str) else text


def parse(text: Any) -> Any:
    """Parse CLIENT:SHA256[:YYYY-MM-DD] entries separated by commas or whitespace into a tuple of `Key`.

    Anything but a string is returned unchanged, for pydantic to validate.

    Raises:
        ValueError: An entry is malformed. The message never contains the entry.
    """
    return tuple(map(_parse_entry, itertools.count(1), split_entries(text))) if isinstance(text, str) else text


def _parse_entry(position: int, entry: str) -> Key:
    """Parse one entry. Error messages must not contain it: it may be a key pasted in place of its hash."""
    if (match := ENTRY_PATTERN.fullmatch(entry)) is None:
        raise ValueError(f"entry {position} is not CLIENT:SHA256 or CLIENT:SHA256:YYYY-MM-DD")
    try:
        expires = date.fromisoformat(match["expires"]) if match["expires"] else None
    except ValueError:
        raise ValueError(f"entry {position} has an invalid expiry date: {match['expires']}") from None
    return Key(match["client"], bytes.fromhex(match["sha256"]), expires)


Keys = Annotated[tuple[Key, ...], NoDecode, BeforeValidator(parse)]
