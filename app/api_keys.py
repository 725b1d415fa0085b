"""API keys: what is kept of them, and how one is known again.

Only a key's SHA-256 is ever configured. That suffices, and nothing slower is needed, because a key is 256 random bits
and no password that could be guessed.
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

FORM = re.compile(r"(?P<client>[a-z0-9][a-z0-9_-]{0,63}):(?P<sha256>[0-9a-f]{64})(:(?P<expires>\d{4}-\d\d-\d\d))?")


class Key(NamedTuple):
    """One key of a client; a client that is just changing its key has two."""

    client: str
    sha256: bytes
    expires: date | None  # the first day, by UTC, on which it is not valid any more

    def has_expired(self) -> bool:
        return self.expires is not None and datetime.now(UTC).date() >= self.expires


def new(client: str) -> tuple[str, str]:
    """A fresh key for a client, and what to write into the settings for it."""
    key = f"pc_{secrets.token_urlsafe(32)}"
    return key, f"{client}:{hashlib.sha256(key.encode()).hexdigest()}"


def find(keys: Iterable[Key], sent: bytes) -> Key | None:
    """The key that was sent, if it is one of these. Takes as long whichever it is, and if it is none."""
    digest = hashlib.sha256(sent).digest()
    found = None
    for key in keys:
        if hmac.compare_digest(key.sha256, digest):
            found = key
    return found


def entries(text: Any) -> Any:
    """What stands in a text between commas and blanks; anything else as it is."""
    return tuple(re.findall(r"[^,\s]+", text)) if isinstance(text, str) else text


def parse(text: Any) -> Any:
    """Any number of CLIENT:SHA256 or CLIENT:SHA256:YYYY-MM-DD, with commas or blanks between."""
    return tuple(map(_key, itertools.count(1), entries(text))) if isinstance(text, str) else text


def _key(position: int, entry: str) -> Key:
    """What is said of it never shows the entry: it may be a key, pasted instead of its hash."""
    if (match := FORM.fullmatch(entry)) is None:
        raise ValueError(f"entry {position} is not CLIENT:SHA256 or CLIENT:SHA256:YYYY-MM-DD")
    try:
        expires = date.fromisoformat(match["expires"]) if match["expires"] else None
    except ValueError:
        raise ValueError(f"entry {position} expires on a day that there is not: {match['expires']}") from None
    return Key(match["client"], bytes.fromhex(match["sha256"]), expires)


Keys = Annotated[tuple[Key, ...], NoDecode, BeforeValidator(parse)]
