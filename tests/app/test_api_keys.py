"""Keys are told apart, expire by the day, and are shown to nobody."""

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


def written(key: Key) -> str:
    return ":".join([key.client, key.sha256.hex(), *([key.expires.isoformat()] if key.expires else [])])


def refusal(text: str) -> str:
    with pytest.raises(ValueError, match=r"entry \d+") as caught:
        api_keys.parse(text)
    return str(caught.value)


# Reading


@given(st.lists(KEYS, max_size=4), GAPS)
def test_what_is_written_is_read_whatever_stands_between(expected: list[Key], gap: str) -> None:
    assert api_keys.parse(gap.join(map(written, expected))) == tuple(expected)


def test_an_entry_has_a_client_a_hash_and_perhaps_a_last_day() -> None:
    digest = bytes.fromhex(SHA256)
    assert api_keys.parse(f"alice:{SHA256}, bob-2:{SHA256}:2031-02-28\n") == (
        Key("alice", digest, None),
        Key("bob-2", digest, date(2031, 2, 28)),
    )


def test_nothing_is_no_keys() -> None:
    assert api_keys.parse("") == api_keys.parse(" ,\n, ") == ()


def test_what_is_no_text_is_left_as_it_is() -> None:
    several = (Key("alice", bytes(32), None),)
    assert api_keys.parse(several) is several
    assert api_keys.entries(None) is None


def test_the_entries_of_a_text_stand_between_commas_and_blanks() -> None:
    assert api_keys.entries(" a,b  c,\n,d ") == ("a", "b", "c", "d")


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
def test_an_entry_of_another_form_is_named_by_its_place_and_never_shown(entry: str) -> None:
    good = f"carol:{SHA256}"
    for place, text in ((1, entry), (2, f"{good},{entry}"), (3, f"{good} {good} {entry} {good}")):
        assert refusal(text) == f"entry {place} is not CLIENT:SHA256 or CLIENT:SHA256:YYYY-MM-DD"


@pytest.mark.parametrize("day", ["2031-02-29", "2031-13-01", "0000-01-01", "2031-00-10"])
def test_a_day_that_there_is_not_is_shown_without_the_rest(day: str) -> None:
    assert refusal(f"alice:{SHA256}:{day}") == f"entry 1 expires on a day that there is not: {day}"


@given(st.text(st.characters(exclude_characters=", \t\n\r\x0b\x0c", exclude_categories=["Z", "C"]), min_size=8))
def test_whatever_is_pasted_is_never_shown(pasted: str) -> None:
    assume(api_keys.FORM.fullmatch(pasted) is None)
    assert pasted not in refusal(f"carol:{SHA256},{pasted}")


# Making


def test_a_new_key_is_accepted_as_one_of_its_client() -> None:
    key, setting = api_keys.new("alice")
    (known,) = api_keys.parse(setting)
    assert (known.client, known.expires) == ("alice", None)
    assert api_keys.find([known], key.encode()) is known
    assert key.startswith("pc_")
    assert key not in setting
    assert key.encode().isascii()


def test_each_new_key_is_another_and_too_long_to_be_guessed() -> None:
    made = {api_keys.new("alice")[0] for _ in range(100)}
    assert len(made) == 100
    assert all(len(key) == len("pc_") + 43 for key in made)  # 256 bits


# Finding


@given(st.lists(st.binary(min_size=1), min_size=1, max_size=5, unique=True), st.binary())
def test_a_key_is_found_if_it_is_one_of_these(sent: list[bytes], other: bytes) -> None:
    known = [Key(f"client-{index}", hashlib.sha256(key).digest(), None) for index, key in enumerate(sent)]
    assert [api_keys.find(known, key) for key in sent] == known
    assume(other not in sent)
    assert api_keys.find(known, other) is None


def test_among_no_keys_none_is_found() -> None:
    assert api_keys.find([], b"") is None


@pytest.mark.parametrize("sent", [b"first", b"second", b"third", b"none of them", b""])
def test_all_keys_are_compared_whichever_it_is(monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
    digests = [hashlib.sha256(key).digest() for key in (b"first", b"second", b"third")]
    compared: list[tuple[bytes, bytes]] = []
    compare = hmac.compare_digest

    def watched(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return compare(one, other)

    monkeypatch.setattr(hmac, "compare_digest", watched)
    api_keys.find([Key("client", digest, None) for digest in digests], sent)
    assert compared == [(digest, hashlib.sha256(sent).digest()) for digest in digests]


def test_a_client_that_changes_its_key_has_both_for_a_while() -> None:
    old, new = api_keys.new("alice"), api_keys.new("alice")
    known = api_keys.parse(f"{old[1]}:2031-01-31,{new[1]}")
    found = [api_keys.find(known, key.encode()) for key, _ in (old, new)]
    assert found == list(known)
    assert {key.client for key in known} == {"alice"}
    assert [key.expires for key in known] == [date(2031, 1, 31), None]


# Expiring


def at(monkeypatch: pytest.MonkeyPatch, moment: datetime) -> None:
    """Stops the clock."""

    class Stopped(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> "Stopped":
            assert tz is not None, "the time of day at some place is nobody's concern"
            there = moment.astimezone(tz)
            return cls(there.year, there.month, there.day, there.hour, there.minute, there.second, tzinfo=tz)

    monkeypatch.setattr(api_keys, "datetime", Stopped)


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
def test_a_key_is_valid_until_its_day_begins_by_utc(
    monkeypatch: pytest.MonkeyPatch, moment: datetime, has_expired: bool
) -> None:
    at(monkeypatch, moment)
    assert Key("alice", bytes(32), DAY).has_expired() == has_expired
    assert not Key("alice", bytes(32), None).has_expired()


@given(st.datetimes(FIRST, LAST, timezones=st.timezones()), st.integers(-2, 2))
def test_it_expires_everywhere_at_the_same_moment(moment: datetime, days: int) -> None:
    today = moment.astimezone(UTC).date()
    with pytest.MonkeyPatch.context() as patch:
        at(patch, moment)
        assert Key("alice", bytes(32), today + timedelta(days)).has_expired() == (days <= 0)
