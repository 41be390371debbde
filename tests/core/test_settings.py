"""Settings come from the environment, are checked once, and what is wrong is told in one line."""

from __future__ import annotations

import pytest

from app.core.settings import SECRET_MIN_BYTES, Settings, SettingsError, check_identity, check_store, load


def test_a_variable_sets_its_setting_and_an_empty_one_is_unset() -> None:
    settings = load({"BELFRY_HISTORY_LENGTH": "7", "BELFRY_RETRY_MS": "", "HISTORY_LENGTH": "9"})
    assert (settings.history_length, settings.retry_ms) == (7, Settings().retry_ms)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BELFRY_HISTORY_LENGTH", "0"),
        ("BELFRY_HISTORY_LENGTH", "many"),
        ("BELFRY_HEARTBEAT_SECONDS", "-1"),
        ("BELFRY_HEARTBEAT_SECONDS", "nan"),
        ("BELFRY_REDIS_PREFIX", "a{b}"),
        ("BELFRY_DEMO", "perhaps"),
    ],
)
def test_a_bad_value_is_refused_in_one_line_with_its_name(name: str, value: str) -> None:
    with pytest.raises(SettingsError) as refusal:
        load({name: value})
    assert name in str(refusal.value)
    assert value in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_every_setting_says_what_it_is_for() -> None:
    assert all(setting.description for setting in Settings.model_fields.values())


def test_a_server_without_a_way_to_check_tokens_is_refused() -> None:
    with pytest.raises(SettingsError, match="BELFRY_SECRET is not set"):
        check_identity(Settings())


def test_a_short_secret_is_refused_and_not_shown() -> None:
    with pytest.raises(SettingsError) as refusal:
        check_identity(Settings(secret="x" * (SECRET_MIN_BYTES - 1)))
    assert "xx" not in str(refusal.value)
    check_identity(Settings(secret="x" * SECRET_MIN_BYTES))


def test_the_secret_is_not_in_the_settings_text() -> None:
    assert "hidden" not in repr(Settings(secret="hidden" * 10))


def test_an_address_of_the_store_that_is_not_understood_is_refused_without_its_password() -> None:
    with pytest.raises(SettingsError) as refusal:
        load({"BELFRY_REDIS_URL": "redis+sentinel://:hunter2@one"})
    assert "BELFRY_REDIS_URL" in str(refusal.value)
    assert "/service" in str(refusal.value)
    assert "hunter2" not in str(refusal.value)
    assert "hunter2" not in repr(load({"BELFRY_REDIS_URL": "redis://:hunter2@one"}))


@pytest.mark.parametrize("name", ["BELFRY_JWKS_URL", "BELFRY_UPSTREAM_URL", "BELFRY_REDIS_URL"])
@pytest.mark.parametrize(
    "url", ["https://me:hunter2/x@one", "https://me:hunter2#x@one", "hunter2", "https://one:hunter2"]
)
def test_an_address_that_can_not_be_asked_is_refused_without_its_password(name: str, url: str) -> None:
    with pytest.raises(SettingsError, match=f"^{name}: expected") as refusal:
        load({name: url})
    assert "hunter2" not in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("url", ["http://issuer.example/keys", "http://localhost:x@issuer.example/keys"])
def test_keys_are_not_fetched_over_a_way_on_which_anyone_may_change_them(url: str) -> None:
    with pytest.raises(SettingsError, match="expected an https address"):
        load({"BELFRY_JWKS_URL": url})
    assert load({"BELFRY_JWKS_URL": "http://127.0.0.1:8080/keys"}).jwks_url


def test_a_server_without_a_store_is_refused() -> None:
    with pytest.raises(SettingsError, match="BELFRY_REDIS_URL is not set"):
        check_store(Settings())


def test_replicas_are_waited_for_no_longer_than_for_an_answer() -> None:
    wait = {"BELFRY_PUBLISH_WAIT_REPLICAS": "1", "BELFRY_REDIS_TIMEOUT_SECONDS": "1.5"}
    assert load({**wait, "BELFRY_PUBLISH_WAIT_SECONDS": "1.4"}).publish_wait_replicas == 1
    with pytest.raises(SettingsError, match="BELFRY_PUBLISH_WAIT_SECONDS"):
        load({**wait, "BELFRY_PUBLISH_WAIT_SECONDS": "1.5"})
    with pytest.raises(SettingsError, match="BELFRY_PUBLISH_WAIT_SECONDS"):
        load({**wait, "BELFRY_REDIS_TIMEOUT_SECONDS": "0.5"})
