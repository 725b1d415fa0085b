"""Settings: environment variables, bounds, consistency, and the checks of public addresses."""

import hashlib
from datetime import date
from pathlib import Path

import pytest
from pydantic import HttpUrl, ValidationError

from app import api_keys
from app.api_keys import Key
from app.settings import PREFIX, Settings

KEY, KEY_ENTRY = api_keys.generate("alice")
DIGEST = hashlib.sha256(KEY.encode()).digest()


pytestmark = pytest.mark.usefixtures("_no_settings_in_the_environment")


def validation_error(monkeypatch: pytest.MonkeyPatch, **environment: str) -> str:
    """Return the error of settings with these environment variables, named without the prefix."""
    for name, value in environment.items():
        monkeypatch.setenv(PREFIX + name, value)
    with pytest.raises(ValidationError) as caught:
        Settings()
    return str(caught.value)


def test_defaults() -> None:
    settings = Settings()
    assert settings.host == "127.0.0.1"
    assert settings.models_dir == Path("models")
    assert settings.default_model == "default"
    assert settings.engine == "auto"
    assert settings.batch_delay_s == 0


def test_defaults_are_within_their_bounds() -> None:
    assert Settings.model_validate(Settings().model_dump()) == Settings()


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_has_a_description(name: str) -> None:
    description = Settings.model_fields[name].description
    assert description
    assert description[0].isupper()
    assert description.endswith(".")


EXAMPLES: list[tuple[str, str, object]] = [
    ("HOST", "127.0.0.2", "127.0.0.2"),
    ("PORT", "0", 0),
    ("MODELS_DIR", "elsewhere/models", Path("elsewhere/models")),
    ("DEFAULT_MODEL", "tutorial", "tutorial"),
    ("MODELS_POLL_S", "0", 0.0),
    ("VERSIONS_SERVED", "16", 16),
    ("API_KEYS", KEY_ENTRY, (Key("alice", DIGEST, None),)),
    ("ADMIN_KEYS", f"{KEY_ENTRY}:2031-02-03", (Key("alice", DIGEST, date(2031, 2, 3)),)),
    ("ALLOW_PUBLIC_WITHOUT_KEYS", "true", True),
    ("MAX_REQUESTS_PER_S_PER_CLIENT", "0.5", 0.5),
    ("MAX_WINDOWS_PER_CLIENT", "2048", 2048),
    ("CORS_ORIGINS", "https://a.example, https://b.example", ("https://a.example", "https://b.example")),
    ("ENGINE", "keras", "keras"),
    ("WORKERS", "8", 8),
    ("ENGINE_THREADS", "4", 4),
    ("MAX_BATCH_WINDOWS", "4096", 4096),
    ("BATCH_DELAY_S", "0.002", 0.002),
    ("MAX_QUEUED_WINDOWS", "9999", 9999),
    ("MAX_REQUEST_WINDOWS", "4096", 4096),
    ("MAX_BODY_BYTES", "1024", 1024),
    ("DEADLINE_S", "2.5", 2.5),
    ("DRAIN_GRACE_S", "0", 0.0),
    ("DRAIN_DEADLINE_S", "300", 300.0),
    ("METRICS_PORT", "9100", 9100),
    ("METRICS_HOST", "0.0.0.0", "0.0.0.0"),
    ("OTLP_ENDPOINT", "http://collector:4318/v1/traces", HttpUrl("http://collector:4318/v1/traces")),
    ("LOG_LEVEL", "debug", "debug"),
]


@pytest.mark.parametrize(("name", "text", "value"), EXAMPLES)
def test_setting_is_read_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, name: str, text: str, value: object
) -> None:
    monkeypatch.setenv(PREFIX + name, text)
    assert getattr(Settings(), name.lower()) == value


def test_every_setting_has_an_example() -> None:
    assert {name.lower() for name, _, _ in EXAMPLES} == set(Settings.model_fields)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "-1"),
        ("PORT", "65536"),
        ("PORT", "http"),
        ("MODELS_POLL_S", "-1"),
        ("MODELS_POLL_S", "3601"),
        ("VERSIONS_SERVED", "0"),
        ("VERSIONS_SERVED", "17"),
        ("ALLOW_PUBLIC_WITHOUT_KEYS", "perhaps"),
        ("MAX_REQUESTS_PER_S_PER_CLIENT", "-1"),
        ("MAX_WINDOWS_PER_CLIENT", "-1"),
        ("METRICS_PORT", "65536"),
        ("OTLP_ENDPOINT", "collector"),
        ("ENGINE", "tensorrt"),
        ("ENGINE", ""),
        ("ENGINE_THREADS", "-1"),
        ("ENGINE_THREADS", "257"),
        ("MAX_BATCH_WINDOWS", "-1"),
        ("MAX_BATCH_WINDOWS", "4097"),
        ("MAX_BATCH_WINDOWS", "1.5"),
        ("BATCH_DELAY_S", "-0.001"),
        ("BATCH_DELAY_S", "1.001"),
        ("BATCH_DELAY_S", "nan"),
        ("MAX_QUEUED_WINDOWS", "0"),
        ("MAX_REQUEST_WINDOWS", "0"),
        ("MAX_BODY_BYTES", "1023"),
        ("DEADLINE_S", "0"),
        ("DEADLINE_S", "300.1"),
        ("DEADLINE_S", "inf"),
        ("DEADLINE_S", "nan"),
        ("DRAIN_GRACE_S", "-1"),
        ("DRAIN_GRACE_S", "61"),
        ("DRAIN_DEADLINE_S", "0"),
        ("DRAIN_DEADLINE_S", "301"),
        ("LOG_LEVEL", "verbose"),
    ],
)
def test_value_out_of_bounds_is_rejected_by_name(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    reason = validation_error(monkeypatch, **{name: value})
    assert "1 validation error" in reason
    assert name.lower() in reason


def test_max_request_windows_above_the_queue_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    reason = validation_error(monkeypatch, MAX_REQUEST_WINDOWS="101", MAX_QUEUED_WINDOWS="100")
    assert "PRICECAST_MAX_REQUEST_WINDOWS must not exceed PRICECAST_MAX_QUEUED_WINDOWS" in reason


def test_max_request_windows_above_the_client_limit_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    reason = validation_error(monkeypatch, MAX_REQUEST_WINDOWS="101", MAX_WINDOWS_PER_CLIENT="100")
    assert "PRICECAST_MAX_REQUEST_WINDOWS must not exceed PRICECAST_MAX_WINDOWS_PER_CLIENT" in reason


def test_max_request_windows_may_equal_the_client_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRICECAST_MAX_REQUEST_WINDOWS", "100")
    monkeypatch.setenv("PRICECAST_MAX_WINDOWS_PER_CLIENT", "100")
    assert Settings().max_windows_per_client == 100


def test_max_request_windows_may_equal_the_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRICECAST_MAX_REQUEST_WINDOWS", "100")
    monkeypatch.setenv("PRICECAST_MAX_QUEUED_WINDOWS", "100")
    assert Settings().max_request_windows == Settings().max_queued_windows == 100


def test_unknown_variable_is_rejected_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "unknown settings: PRICECAST_PROT" in validation_error(monkeypatch, PROT="9000")


def test_unknown_variables_are_listed_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "unknown settings: PRICECAST_, PRICECAST_A, PRICECAST_B" in validation_error(
        monkeypatch, B="", A="", **{"": ""}
    )


def test_variables_with_another_prefix_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "1")
    monkeypatch.setenv("XPRICECAST_PORT", "2")
    monkeypatch.setenv("PRICECASTER", "3")
    assert Settings().port == 8000


def test_unknown_argument_is_rejected() -> None:
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        Settings.model_validate({"prot": 9000})


def test_argument_takes_precedence_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRICECAST_PORT", "1234")
    assert Settings(port=4321).port == 4321
    assert Settings().port == 1234


@pytest.mark.parametrize("name", Settings.model_fields)
def test_setting_is_immutable(name: str) -> None:
    settings = Settings()
    with pytest.raises(ValidationError, match="frozen"):
        setattr(settings, name, getattr(settings, name))


# Access

LOCAL = ["127.0.0.1", "127.8.9.10", "::1", "localhost"]
PUBLIC = ["0.0.0.0", "::", "192.168.1.7", "8.8.8.8", "2001:db8::1", "prices.example", "", "localhost.example"]


@pytest.mark.parametrize("host", LOCAL)
def test_loopback_host_needs_no_keys(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setenv("PRICECAST_HOST", host)
    assert Settings().api_keys == ()


@pytest.mark.parametrize("host", PUBLIC)
def test_public_host_without_keys_is_rejected(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    reason = validation_error(monkeypatch, HOST=host)
    assert f"PRICECAST_API_KEYS is empty, but PRICECAST_HOST {host!r} is not a loopback address" in reason
    assert "python -m app key CLIENT" in reason
    assert "PRICECAST_ALLOW_PUBLIC_WITHOUT_KEYS=true" in reason


@pytest.mark.parametrize("host", PUBLIC)
def test_public_host_with_keys_is_accepted(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setenv("PRICECAST_HOST", host)
    monkeypatch.setenv("PRICECAST_API_KEYS", KEY_ENTRY)
    assert Settings().host == host


@pytest.mark.parametrize("host", PUBLIC)
def test_public_host_without_keys_is_accepted_if_allowed(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setenv("PRICECAST_HOST", host)
    monkeypatch.setenv("PRICECAST_ALLOW_PUBLIC_WITHOUT_KEYS", "true")
    assert Settings().api_keys == ()


def test_public_host_with_admin_keys_only_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "PRICECAST_API_KEYS is empty" in validation_error(monkeypatch, HOST="0.0.0.0", ADMIN_KEYS=KEY_ENTRY)


def test_keys_keep_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [api_keys.generate(client)[1] for client in ("alice", "alice", "bob")]
    monkeypatch.setenv("PRICECAST_API_KEYS", "{},{}:2031-02-03\n {}".format(*entries))
    read = Settings().api_keys
    assert [(key.client, key.expires) for key in read] == [
        ("alice", None),
        ("alice", date(2031, 2, 3)),
        ("bob", None),
    ]
    assert [f"{key.client}:{key.sha256.hex()}" for key in read] == entries


@pytest.mark.parametrize("name", ["API_KEYS", "ADMIN_KEYS"])
@pytest.mark.parametrize("pasted", [KEY, f"alice:{KEY}", f"{KEY_ENTRY},{KEY}", f"{KEY_ENTRY}:2031-02-30,{KEY}"])
def test_key_pasted_in_place_of_its_hash_is_not_echoed(monkeypatch: pytest.MonkeyPatch, name: str, pasted: str) -> None:
    monkeypatch.setenv(PREFIX + name, pasted)
    for others in ({}, {"PORT": "http"}):  # alone, and together with another error
        reason = validation_error(monkeypatch, **others)
        assert name.lower() in reason
        assert "entry" in reason
        assert KEY not in reason


def test_consistency_error_does_not_contain_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    reason = validation_error(monkeypatch, API_KEYS=KEY_ENTRY, METRICS_PORT="9000", PORT="9000")
    assert "PRICECAST_METRICS_PORT must differ from PRICECAST_PORT, or be 0" in reason
    assert KEY_ENTRY.partition(":")[2] not in reason


def test_metrics_port_must_differ_from_port_unless_0(monkeypatch: pytest.MonkeyPatch) -> None:
    reason = validation_error(monkeypatch, METRICS_PORT="8000")
    assert "PRICECAST_METRICS_PORT must differ from PRICECAST_PORT" in reason
    monkeypatch.setenv("PRICECAST_METRICS_PORT", "8001")
    assert Settings().metrics_port == 8001
    monkeypatch.setenv("PRICECAST_METRICS_PORT", "0")
    monkeypatch.setenv("PRICECAST_PORT", "0")
    assert Settings().metrics_port == Settings().port == 0


@pytest.mark.parametrize(("text", "origins"), [("", ()), ("*", ("*",)), ("https://a.example", ("https://a.example",))])
def test_cors_origins_are_split(monkeypatch: pytest.MonkeyPatch, text: str, origins: tuple[str, ...]) -> None:
    monkeypatch.setenv("PRICECAST_CORS_ORIGINS", text)
    assert Settings().cors_origins == origins


def test_repr_does_not_contain_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRICECAST_API_KEYS", KEY_ENTRY)
    assert KEY not in repr(Settings())
