"""Whatever comes in, the core takes it or refuses it by a code of the catalogue; nothing else ever escapes."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import jwt
from hypothesis import example, given
from hypothesis import strategies as st

from app.core import message
from app.core.errors import BelfryError
from app.core.identity.tokens import Keyring
from app.core.log import cursor
from app.core.settings import Settings
from app.core.wire import sse
from app.core.wire.frames import RESERVED_EVENTS
from app.core.wire.sse import Decoder
from app.web.api.publish import lines

NOW = 1_800_000_000.0
SECRET = "a-secret-of-more-than-32-bytes-for-tests"
KEYRING = Keyring(Settings(secret=SECRET))
TOKEN = KEYRING.sign("alice", {"feed"}, NOW, 60)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)
FIELDS = ["to", "topic", "everyone", "id", "event", "key", "title", "body", "url", "level", "tags", "actions", "data"]
MESSAGES = st.dictionaries(st.sampled_from([*FIELDS, "ttl", "transient", "surprise"]), JSON, max_size=6)


def parse(body: bytes) -> message.Message:
    return message.parse(body, now=NOW, new_id="made", max_recipients=10)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_message_or_a_refusal(body: bytes) -> None:
    with contextlib.suppress(BelfryError):
        parse(body)


@given(MESSAGES)
def test_any_object_is_a_message_on_one_line_or_a_refusal(fields: dict[str, Any]) -> None:
    with contextlib.suppress(BelfryError):
        record = parse(json.dumps(fields).encode()).record
        assert not set(record) & {0x0A, 0x0D}


@given(st.binary(max_size=300))
def test_any_bytes_are_split_into_lines_that_hold_no_other(body: bytes) -> None:
    assert all(line.strip(b" \t\r\n") and b"\n" not in line for line in lines(body))


@given(st.text(max_size=200))
def test_any_text_is_a_cursor_or_a_refusal(text: str) -> None:
    with contextlib.suppress(BelfryError):
        assert cursor.encode(cursor.parse(text)) == text


@given(st.text(max_size=200))
@example("eyJhbGciOiJub25lIn0.e30.")
@example("\ud800")
def test_any_text_is_no_token(text: str) -> None:
    with contextlib.suppress(BelfryError):
        KEYRING.verify(text, NOW)
        raise AssertionError(text)


@given(st.integers(0, len(TOKEN) - 1), st.characters(codec="ascii"))
def test_a_token_with_any_character_changed_is_none(at: int, character: str) -> None:
    changed = TOKEN[:at] + character + TOKEN[at + 1 :]
    try:
        claims = KEYRING.verify(changed, NOW)
    except BelfryError as error:
        refusal = error.code
        assert refusal == "token_invalid"
    else:  # base64's last character has bits that mean nothing
        assert claims.user == "alice"
        assert at == len(TOKEN) - 1 or changed == TOKEN


@given(st.dictionaries(st.sampled_from(["sub", "exp", "iat", "nbf", "scope", "topics", "to", "jti", "aud"]), JSON))
def test_any_claims_that_are_signed_are_understood_or_refused(claims: dict[str, Any]) -> None:
    token = jwt.api_jws.PyJWS().encode(json.dumps(claims).encode(), SECRET, "HS256")
    with contextlib.suppress(BelfryError):
        found = KEYRING.verify(token, NOW)
        assert found.expires_at > NOW
        assert isinstance(found.token_id, str)


@given(st.text(max_size=50), st.text(max_size=20), st.text(max_size=20))
def test_what_is_encoded_comes_out_as_one_event_or_is_refused(data: str, event: str, last_id: str) -> None:
    with contextlib.suppress(ValueError):
        frame = sse.encode(data, event=event, id=last_id)
        (got,) = Decoder().feed(frame)
        assert got.event == (event or "message")
        assert got.id == last_id
        assert got.data == data.replace("\r\n", "\n").replace("\r", "\n")


def test_no_event_of_belfry_s_own_can_be_published() -> None:
    for event in RESERVED_EVENTS:
        with contextlib.suppress(BelfryError):
            parse(json.dumps({"to": "a", "event": event}).encode())
            raise AssertionError(event)
