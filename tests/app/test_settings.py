"""Settings come from the environment, keep their bounds, agree with each other, and never change."""

import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from app.settings import PREFIX, Settings


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
    ("HOST", "0.0.0.0", "0.0.0.0"),
    ("PORT", "0", 0),
    ("MODELS_DIR", "elsewhere/models", Path("elsewhere/models")),
    ("DEFAULT_MODEL", "tutorial", "tutorial"),
    ("ENGINE", "keras", "keras"),
    ("WORKERS", "8", 8),
    ("LANES", "4", 4),
    ("MAX_BATCH_WINDOWS", "4096", 4096),
    ("BATCH_DELAY_S", "0.002", 0.002),
    ("MAX_QUEUED_WINDOWS", "1024", 1024),
    ("MAX_REQUEST_WINDOWS", "8192", 8192),
    ("MAX_BODY_BYTES", "1024", 1024),
    ("DEADLINE_S", "2.5", 2.5),
    ("DRAIN_GRACE_S", "0", 0.0),
    ("DRAIN_DEADLINE_S", "300", 300.0),
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
        ("ENGINE", "tensorrt"),
        ("ENGINE", ""),
        ("LANES", "-1"),
        ("LANES", "257"),
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
