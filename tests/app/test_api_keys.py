"""API keys: parsing, generating, lookup and expiry. No message reveals a key."""

import hashlib
import hmac
from datetime import UTC, date, datetime, timedelta, tzinfo

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from app import api_keys
from app.api_keys import Key

SECRET = "pc_2hUuOkT1JcQ8yJ0w5mY9r3v7x1z4b6n8"
SHA256 = hashlib.sha256(SECRET.encode()).hexdigest()

CLIENTS = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,63}", fullmatch=True)
DIGESTS = st.binary(min_size=32, max_size=32)
DATES = st.one_of(st.none(), st.dates(date(1000, 1, 1)))
KEYS = st.builds(Key, CLIENTS, DIGESTS, DATES)
GAPS = st.text(", \t\n", min_size=1, max_size=3)


def entry_of(key: Key) -> str:
    """Return the settings entry of a key."""
    return ":".join([key.client, key.sha256.hex(), *([key.expires.isoformat()] if key.expires else [])])


def parse_error(text: str) -> str:
    with pytest.raises(ValueError, match=r"entry \d+") as caught:
        api_keys.parse(text)
    return str(caught.value)


# Parsing


@given(st.lists(KEYS, max_size=4), GAPS)
def test_parse_accepts_any_separator(expected: list[Key], gap: str) -> None:
    assert api_keys.parse(gap.join(map(entry_of, expected))) == tuple(expected)


def test_parse_reads_client_hash_and_optional_expiry() -> None:
    digest = bytes.fromhex(SHA256)
    assert api_keys.parse(f"alice:{SHA256}, bob-2:{SHA256}:2031-02-28\n") == (
        Key("alice", digest, None),
        Key("bob-2", digest, date(2031, 2, 28)),
    )


def test_parse_of_an_empty_string_is_empty() -> None:
    assert api_keys.parse("") == api_keys.parse(" ,\n, ") == ()


def test_parse_leaves_non_strings_unchanged() -> None:
    keys = (Key("alice", bytes(32), None),)
    assert api_keys.parse(keys) is keys
    assert api_keys.split_entries(None) is None


def test_split_entries_splits_at_commas_and_whitespace() -> None:
    assert api_keys.split_entries(" a,b  c,\n,d ") == ("a", "b", "c", "d")


@pytest.mark.parametrize(
    "entry",
    [
        SECRET,
        SHA256,
        "alice",
        f":{SHA256}",
        f"Alice:{SHA256}",
        f"-alice:{SHA256}",
        f"al.ice:{SHA256}",
        f"{'a' * 65}:{SHA256}",
        f"alice:{SECRET}",
        f"alice:{SHA256[1:]}",
        f"alice:{SHA256}0",
        f"alice:{SHA256.upper()}",
        f"alice:{SHA256}:",
        f"alice:{SHA256}:2031",
        f"alice:{SHA256}:2031-02-03T00:00",
        f"alice:{SHA256}:2031-02-03:",
        f"alice:{SECRET}:2031-02-03",
    ],
)
def test_malformed_entry_is_reported_by_position_only(entry: str) -> None:
    good = f"carol:{SHA256}"
    for position, text in ((1, entry), (2, f"{good},{entry}"), (3, f"{good} {good} {entry} {good}")):
        assert parse_error(text) == f"entry {position} is not CLIENT:SHA256 or CLIENT:SHA256:YYYY-MM-DD"


@pytest.mark.parametrize("day", ["2031-02-29", "2031-13-01", "0000-01-01", "2031-00-10"])
def test_invalid_expiry_date_is_reported_without_the_key(day: str) -> None:
    assert parse_error(f"alice:{SHA256}:{day}") == f"entry 1 has an invalid expiry date: {day}"


@given(st.text(st.characters(exclude_characters=", \t\n\r\x0b\x0c", exclude_categories=["Z", "C"]), min_size=8))
def test_parse_error_never_contains_the_entry(pasted: str) -> None:
    assume(api_keys.ENTRY_PATTERN.fullmatch(pasted) is None)
    assert pasted not in parse_error(f"carol:{SHA256},{pasted}")


# Generating


def test_generated_key_is_found_by_its_entry() -> None:
    key, entry = api_keys.generate("alice")
    (known,) = api_keys.parse(entry)
    assert (known.client, known.expires) == ("alice", None)
    assert api_keys.find([known], key.encode()) is known
    assert key.startswith("pc_")
    assert key not in entry
    assert key.encode().isascii()


def test_generated_keys_are_unique_and_have_256_bits() -> None:
    generated = {api_keys.generate("alice")[0] for _ in range(100)}
    assert len(generated) == 100
    assert all(len(key) == len("pc_") + 43 for key in generated)  # 256 bits in base64


# Finding


@given(st.lists(st.binary(min_size=1), min_size=1, max_size=5, unique=True), st.binary())
def test_find_returns_the_matching_key_or_none(sent: list[bytes], other: bytes) -> None:
    known = [Key(f"client-{index}", hashlib.sha256(key).digest(), None) for index, key in enumerate(sent)]
    assert [api_keys.find(known, key) for key in sent] == known
    assume(other not in sent)
    assert api_keys.find(known, other) is None


def test_find_among_no_keys_returns_none() -> None:
    assert api_keys.find([], b"") is None


@pytest.mark.parametrize("sent", [b"first", b"second", b"third", b"none of them", b""])
def test_find_compares_every_key_in_constant_time(monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
    digests = [hashlib.sha256(key).digest() for key in (b"first", b"second", b"third")]
    compared: list[tuple[bytes, bytes]] = []
    compare = hmac.compare_digest

    def recording(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return compare(one, other)

    monkeypatch.setattr(hmac, "compare_digest", recording)
    api_keys.find([Key("client", digest, None) for digest in digests], sent)
    assert compared == [(digest, hashlib.sha256(sent).digest()) for digest in digests]


def test_client_may_have_two_keys_during_rotation() -> None:
    old, new = api_keys.generate("alice"), api_keys.generate("alice")
    known = api_keys.parse(f"{old[1]}:2031-01-31,{new[1]}")
    found = [api_keys.find(known, key.encode()) for key, _ in (old, new)]
    assert found == list(known)
    assert {key.client for key in known} == {"alice"}
    assert [key.expires for key in known] == [date(2031, 1, 31), None]


# Expiry


def freeze_clock(monkeypatch: pytest.MonkeyPatch, moment: datetime) -> None:

    class FrozenDatetime(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> "FrozenDatetime":
            assert tz is not None, "expiry must not depend on the local time zone"
            local = moment.astimezone(tz)
            return cls(local.year, local.month, local.day, local.hour, local.minute, local.second, tzinfo=tz)

    monkeypatch.setattr(api_keys, "datetime", FrozenDatetime)


DAY = date(2031, 3, 1)
FIRST, LAST = datetime.fromisoformat("1900-01-01"), datetime.fromisoformat("2100-01-01")


@pytest.mark.parametrize(
    ("moment", "has_expired"),
    [
        (datetime(2031, 2, 28, 23, 59, 59, tzinfo=UTC), False),
        (datetime(2031, 3, 1, tzinfo=UTC), True),
        (datetime(2032, 1, 1, tzinfo=UTC), True),
        (datetime(2030, 12, 31, tzinfo=UTC), False),
    ],
)
def test_key_expires_at_the_start_of_its_expiry_date_in_utc(
    monkeypatch: pytest.MonkeyPatch, moment: datetime, has_expired: bool
) -> None:
    freeze_clock(monkeypatch, moment)
    assert Key("alice", bytes(32), DAY).has_expired() == has_expired
    assert not Key("alice", bytes(32), None).has_expired()


@given(st.datetimes(FIRST, LAST, timezones=st.timezones()), st.integers(-2, 2))
def test_expiry_does_not_depend_on_the_local_time_zone(moment: datetime, days: int) -> None:
    today = moment.astimezone(UTC).date()
    with pytest.MonkeyPatch.context() as patch:
        freeze_clock(patch, moment)
        assert Key("alice", bytes(32), today + timedelta(days)).has_expired() == (days <= 0)
