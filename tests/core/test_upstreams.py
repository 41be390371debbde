"""Which upstream a model's completions go to, and with which credentials."""

from __future__ import annotations

import json

import pytest

from app.core.errors import BelfryError
from app.core.settings import Settings, SettingsError, load
from app.core.upstreams import Upstream, Upstreams

AZURE = {
    "url": "https://a.example/openai/deployments/d?api-version=1",
    "key": "azure-key",
    "models": ["gpt-4*", "o1"],
    "header": "api-key",
}


def test_the_first_upstream_that_serves_a_model_gets_it() -> None:
    upstreams = Upstreams(Settings(upstreams=json.dumps([AZURE]), upstream_url="http://b.example/v1"))
    assert upstreams.choose("gpt-4o").url == AZURE["url"]
    assert upstreams.choose("o1").url == AZURE["url"]
    assert upstreams.choose("o1-mini").url == "http://b.example/v1"


def test_a_model_that_nobody_serves_is_unknown() -> None:
    with pytest.raises(BelfryError, match="model_unknown"):
        Upstreams(Settings(upstreams=json.dumps([AZURE]))).choose("llama")
    with pytest.raises(BelfryError, match="model_unknown"):
        Upstreams(Settings()).choose("llama")


@pytest.mark.parametrize(
    ("url", "completions"),
    [
        ("http://b.example/v1", "http://b.example/v1/chat/completions"),
        ("http://b.example/v1/", "http://b.example/v1/chat/completions"),
        (AZURE["url"], "https://a.example/openai/deployments/d/chat/completions?api-version=1"),
    ],
)
def test_completions_are_posted_below_the_address(url: str, completions: str) -> None:
    assert Upstream(url=url).completions_url == completions
    assert Upstream(url=url).models_url == completions.replace("/chat/completions", "/models")


def test_the_key_travels_in_the_header_that_the_upstream_wants() -> None:
    assert Upstream(url="http://b", key="k").own_headers == {"Authorization": "Bearer k"}
    assert Upstream(url="http://b", key="k", header="api-key").own_headers == {"api-key": "k"}
    assert Upstream(url="http://b").own_headers == {}


def test_the_key_is_masked_wherever_the_upstream_repeats_it() -> None:
    assert Upstream(url="http://b", key="sk-123456").masked("bad key sk-123456!") == "bad key ***!"
    secret = {"X-Token": "Basic abcdefgh", "X-Team": "documents"}
    assert Upstream(url="http://b", headers=secret).masked("abcdefgh of documents") == "*** of documents"
    assert Upstream(url="http://b").masked("as it is") == "as it is"


@pytest.mark.parametrize("key", ["ollama", "EMPTY", "k", "none"])
def test_a_key_that_is_a_word_is_no_secret(key: str) -> None:
    assert Upstream(url="http://b", key=key).masked(f"{key} completion_tokens") == f"{key} completion_tokens"


@pytest.mark.parametrize(
    "upstreams", ["{", "{}", '[{"key":"sk-1"}]', '[{"url":"ftp://x","key":"sk-1"}]', '[{"url":7}]']
)
def test_settings_that_cant_be_used_are_refused_without_their_keys(upstreams: str) -> None:
    with pytest.raises(SettingsError, match="BELFRY_UPSTREAMS") as caught:
        Upstreams(Settings(upstreams=upstreams))
    assert "sk-1" not in str(caught.value)


def test_an_address_must_be_one() -> None:
    with pytest.raises(SettingsError, match="BELFRY_UPSTREAM_URL"):
        load({"BELFRY_UPSTREAM_URL": "b.example"})
