"""Fetching an issuer's keys: when needed, not more often, and an outage changes nothing."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Protocol

import gevent
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519

from app.core.errors import BelfryError
from app.core.identity.jwk import Key
from app.core.identity.tokens import Keyring
from app.core.settings import Settings
from app.live.identity import key_source
from app.live.identity.key_source import KeySource
from tests.scripted_server import Answer, Script, scripted_server


class SourceOf(Protocol):
    """Makes a source of what a server publishes, and the keyring that it fills."""

    def __call__(self, script: Script, refresh_seconds: float = 3_600) -> tuple[KeySource, Keyring]: ...


KEYS = {kid: ed25519.Ed25519PrivateKey.generate() for kid in ("k1", "k2")}


def jwk_set(*kids: str) -> Answer:
    to_jwk = jwt.get_algorithm_by_name("EdDSA").to_jwk
    return Answer.of({"keys": [{**to_jwk(KEYS[kid].public_key(), as_dict=True), "kid": kid} for kid in kids]})


def token(kid: str) -> str:
    return jwt.encode({"sub": "alice", "exp": time.time() + 60}, KEYS[kid], "EdDSA", headers={"kid": kid})


@pytest.fixture
def source_of() -> Iterator[SourceOf]:
    made: list[KeySource] = []

    def make(script: Script, refresh_seconds: float = 3_600) -> tuple[KeySource, Keyring]:
        keyring = Keyring(Settings())
        made.append(KeySource(script.url, refresh_seconds, keyring))
        return made[-1], keyring

    yield make
    for source in made:
        source.stop()


def test_keys_are_fetched_for_the_first_token_that_needs_one(source_of: SourceOf) -> None:
    with scripted_server(jwk_set("k1")) as script:
        source, keyring = source_of(script)
        assert source.refreshed_for(token("k1"))
        assert keyring.verify(token("k1"), time.time()).user == "alice"


def test_a_key_that_was_published_a_moment_ago_is_found(source_of: SourceOf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_source, "MISS_SECONDS", 0.0)
    with scripted_server(jwk_set("k1"), jwk_set("k1", "k2")) as script:
        source, keyring = source_of(script)
        source.refresh()
        assert source.refreshed_for(token("k2"))
        assert keyring.verify(token("k2"), time.time()).user == "alice"


def test_made_up_names_of_keys_cause_no_storm(source_of: SourceOf) -> None:
    with scripted_server(jwk_set("k1")) as script:
        source, _ = source_of(script)
        source.refresh()
        for _ in range(100):
            source.refreshed_for(token("k2"))
        assert len(script.asked) == 1


@pytest.mark.parametrize(
    "failure",
    [
        Answer(503),
        Answer(200, b"<html>"),
        Answer.of({"keys": []}),
        Answer(302, headers={"Location": "http://127.0.0.1:1/"}),
        Answer(200, json.dumps({"keys": [], "padding": "x" * 200_000}).encode()),
        Answer(200, b'{"keys"', headers={"Content-Length": "1000"}),
        Answer(200, b"plain", headers={"Content-Encoding": "gzip"}),
    ],
    ids=["503", "no JSON", "no keys", "redirect", "too long", "cut off", "not what it is said to be"],
)
def test_an_outage_leaves_the_known_keys_in_place(source_of: SourceOf, failure: Answer) -> None:
    with scripted_server(jwk_set("k1"), failure) as script:
        source, keyring = source_of(script)
        source.refresh()
        source.refresh()
        assert len(script.asked) == 2
    assert keyring.verify(token("k1"), time.time()).user == "alice"


def test_a_surprise_does_not_end_the_following(source_of: SourceOf, monkeypatch: pytest.MonkeyPatch) -> None:
    with scripted_server(jwk_set("k1"), jwk_set("k1"), jwk_set("k2")) as script:
        source, keyring = source_of(script, refresh_seconds=0.01)
        replace = keyring.replace_published

        def once_surprised(_keys: tuple[Key, ...]) -> None:
            monkeypatch.setattr(keyring, "replace_published", replace)
            raise RuntimeError("a bug")

        source.refresh()
        monkeypatch.setattr(keyring, "replace_published", once_surprised)
        with gevent.Timeout(60):
            while not keyring.names_unknown_key(token("k1")):
                gevent.sleep(0.001)
        source.stop()
    assert keyring.verify(token("k2"), time.time()).user == "alice"


def test_without_any_key_the_client_is_told_to_come_back(source_of: SourceOf) -> None:
    with scripted_server(Answer(503)) as script:
        source, _ = source_of(script)
        with pytest.raises(BelfryError) as refused:
            source.refreshed_for(token("k1"))
    assert (refused.value.status, refused.value.code) == (503, "keys_unavailable")
    assert refused.value.headers["Retry-After"]
