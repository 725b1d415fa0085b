"""Settings come from the environment, keep their bounds, agree with each other, and never change."""

import hashlib
import os
from datetime import date
from pathlib import Path

import pytest
from pydantic import HttpUrl, ValidationError

from app import api_keys
from app.api_keys import Key
from app.settings import PREFIX, Settings

KEY, KEY_SETTING = api_keys.new("alice")
DIGEST = hashlib.sha256(KEY.encode()).digest()


@pytest.fixture(autouse=True)
def _no_settings_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.upper().startswith(PREFIX):
            monkeypatch.delenv(name)


def refusal(monkeypatch: pytest.MonkeyPatch, **environment: str) -> str:
    """Why settings with this in the environment, named without the prefix, are refused."""
    for name, value in environment.items():
        monkeypatch.setenv(PREFIX + name, value)
    with pytest.raises(ValidationError) as caught:
        Settings()
    return str(caught.value)


def test_the_defaults_are_valid_and_modest() -> None:
    settings = Settings()
    assert settings.host == "127.0.0.1"
    assert settings.models_dir == Path("models")
    assert settings.default_model == "default"
    assert settings.engine == "auto"
    assert settings.batch_delay_s == 0


def test_the_defaults_keep_the_bounds_that_they_have() -> None:
    assert Settings.model_validate(Settings().model_dump()) == Settings()


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_says_why(name: str) -> None:
    assert Settings.model_fields[name].description


READ: list[tuple[str, str, object]] = [
    ("HOST", "127.0.0.2", "127.0.0.2"),
    ("PORT", "0", 0),
    ("MODELS_DIR", "elsewhere/models", Path("elsewhere/models")),
    ("DEFAULT_MODEL", "tutorial", "tutorial"),
    ("MODELS_POLL_S", "0", 0.0),
    ("VERSIONS_SERVED", "16", 16),
    ("API_KEYS", KEY_SETTING, (Key("alice", DIGEST, None),)),
    ("ADMIN_KEYS", f"{KEY_SETTING}:2031-02-03", (Key("alice", DIGEST, date(2031, 2, 3)),)),
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


@pytest.mark.parametrize(("name", "text", "value"), READ)
def test_a_setting_is_read_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, name: str, text: str, value: object
) -> None:
    monkeypatch.setenv(PREFIX + name, text)
    assert getattr(Settings(), name.lower()) == value


def test_no_setting_is_left_out_of_these_tests() -> None:
    assert {name.lower() for name, _, _ in READ} == set(Settings.model_fields)


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
def test_a_value_out_of_bounds_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    reason = refusal(monkeypatch, **{name: value})
    assert "1 validation error" in reason
    assert name.lower() in reason


def test_a_request_that_could_never_be_queued_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    reason = refusal(monkeypatch, MAX_REQUEST_WINDOWS="101", MAX_QUEUED_WINDOWS="100")
    assert "max_request_windows must not exceed max_queued_windows" in reason


def test_a_request_that_no_client_could_ever_send_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    reason = refusal(monkeypatch, MAX_REQUEST_WINDOWS="101", MAX_WINDOWS_PER_CLIENT="100")
    assert "max_request_windows must not exceed max_windows_per_client" in reason


def test_a_request_may_take_all_that_a_client_may_have(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRICECAST_MAX_REQUEST_WINDOWS", "100")
    monkeypatch.setenv("PRICECAST_MAX_WINDOWS_PER_CLIENT", "100")
    assert Settings().max_windows_per_client == 100


def test_a_request_may_fill_the_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRICECAST_MAX_REQUEST_WINDOWS", "100")
    monkeypatch.setenv("PRICECAST_MAX_QUEUED_WINDOWS", "100")
    assert Settings().max_request_windows == Settings().max_queued_windows == 100


def test_a_variable_that_is_no_setting_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "no such setting: PRICECAST_PROT" in refusal(monkeypatch, PROT="9000")


def test_all_that_are_no_settings_are_named_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "no such setting: PRICECAST_, PRICECAST_A, PRICECAST_B" in refusal(monkeypatch, B="", A="", **{"": ""})


def test_other_variables_are_nobodys_business(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "1")
    monkeypatch.setenv("XPRICECAST_PORT", "2")
    monkeypatch.setenv("PRICECASTER", "3")
    assert Settings().port == 8000


def test_an_argument_that_is_no_setting_is_refused() -> None:
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        Settings.model_validate({"prot": 9000})


def test_an_argument_goes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRICECAST_PORT", "1234")
    assert Settings(port=4321).port == 4321
    assert Settings().port == 1234


@pytest.mark.parametrize("name", Settings.model_fields)
def test_a_setting_never_changes(name: str) -> None:
    settings = Settings()
    with pytest.raises(ValidationError, match="frozen"):
        setattr(settings, name, getattr(settings, name))


# Who may ask

LOCAL = ["127.0.0.1", "127.8.9.10", "::1", "localhost"]
PUBLIC = ["0.0.0.0", "::", "192.168.1.7", "8.8.8.8", "2001:db8::1", "prices.example", "", "localhost.example"]


@pytest.mark.parametrize("host", LOCAL)
def test_whoever_is_on_this_machine_needs_no_key(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setenv("PRICECAST_HOST", host)
    assert Settings().api_keys == ()


@pytest.mark.parametrize("host", PUBLIC)
def test_an_address_that_others_reach_is_not_served_to_everyone_by_mistake(
    monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    reason = refusal(monkeypatch, HOST=host)
    assert f"others can reach {host}, and there are no api_keys" in reason
    assert "python -m app key CLIENT" in reason
    assert "allow_public_without_keys" in reason


@pytest.mark.parametrize("host", PUBLIC)
def test_it_is_served_to_those_with_keys(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setenv("PRICECAST_HOST", host)
    monkeypatch.setenv("PRICECAST_API_KEYS", KEY_SETTING)
    assert Settings().host == host


@pytest.mark.parametrize("host", PUBLIC)
def test_it_is_served_to_everyone_if_somebody_says_so(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setenv("PRICECAST_HOST", host)
    monkeypatch.setenv("PRICECAST_ALLOW_PUBLIC_WITHOUT_KEYS", "true")
    assert Settings().api_keys == ()


def test_keys_of_administrators_alone_leave_it_open_to_all(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "there are no api_keys" in refusal(monkeypatch, HOST="0.0.0.0", ADMIN_KEYS=KEY_SETTING)


def test_keys_are_read_in_their_order_with_commas_or_blanks_between(monkeypatch: pytest.MonkeyPatch) -> None:
    settings_of = [api_keys.new(client)[1] for client in ("alice", "alice", "bob")]
    monkeypatch.setenv("PRICECAST_API_KEYS", "{},{}:2031-02-03\n {}".format(*settings_of))
    read = Settings().api_keys
    assert [(key.client, key.expires) for key in read] == [
        ("alice", None),
        ("alice", date(2031, 2, 3)),
        ("bob", None),
    ]
    assert [f"{key.client}:{key.sha256.hex()}" for key in read] == settings_of


@pytest.mark.parametrize("name", ["API_KEYS", "ADMIN_KEYS"])
@pytest.mark.parametrize("pasted", [KEY, f"alice:{KEY}", f"{KEY_SETTING},{KEY}", f"{KEY_SETTING}:2031-02-30,{KEY}"])
def test_a_key_that_was_pasted_instead_of_its_hash_is_never_echoed(
    monkeypatch: pytest.MonkeyPatch, name: str, pasted: str
) -> None:
    monkeypatch.setenv(PREFIX + name, pasted)
    for others in ({}, {"PORT": "http"}):  # whatever else is wrong as well
        reason = refusal(monkeypatch, **others)
        assert name.lower() in reason
        assert "entry" in reason
        assert KEY not in reason


def test_what_disagrees_is_told_without_the_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    reason = refusal(monkeypatch, API_KEYS=KEY_SETTING, METRICS_PORT="9000", PORT="9000")
    assert "metrics_port must be another than port, or 0" in reason
    assert KEY_SETTING.partition(":")[2] not in reason


def test_metrics_have_a_port_of_their_own_or_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "metrics_port must be another than port" in refusal(monkeypatch, METRICS_PORT="8000")
    monkeypatch.setenv("PRICECAST_METRICS_PORT", "8001")
    assert Settings().metrics_port == 8001
    monkeypatch.setenv("PRICECAST_METRICS_PORT", "0")
    monkeypatch.setenv("PRICECAST_PORT", "0")
    assert Settings().metrics_port == Settings().port == 0


@pytest.mark.parametrize(("text", "origins"), [("", ()), ("*", ("*",)), ("https://a.example", ("https://a.example",))])
def test_origins_are_read_as_words(monkeypatch: pytest.MonkeyPatch, text: str, origins: tuple[str, ...]) -> None:
    monkeypatch.setenv("PRICECAST_CORS_ORIGINS", text)
    assert Settings().cors_origins == origins


def test_settings_that_are_shown_show_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRICECAST_API_KEYS", KEY_SETTING)
    assert KEY not in repr(Settings())
