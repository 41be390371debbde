"""Checks user ids and topic names. Pure, and used for tokens, messages and query parameters."""

from __future__ import annotations

import unicodedata

from ..errors import BelfryError

NAME_MAX_BYTES = 128
# The prefix of topics that only Belfry publishes to and only administrators read.
OWN_TOPICS = "belfry."
FIGURES_TOPIC = f"{OWN_TOPICS}figures"

# No longer text has an NFC form of at most `NAME_MAX_BYTES`. The time for normalising grows with the square of the
# number of marks on one letter. So a text that can't be a name is not normalised.
NORMALISED_MAX = 2 * NAME_MAX_BYTES

# The same rule for the OpenAPI document, as far as a schema can express it: it counts characters.
NAME_SCHEMA = {"type": "string", "minLength": 1, "maxLength": NAME_MAX_BYTES, "pattern": r"^[^\s{}\x00-\x1f\x7f]+$"}

_BRACES_AND_SPACE = frozenset("{} ")


def nfc(text: str) -> str:
    """Return `text` in Unicode's normal form C, so that two encodings of the same text are one name.

    A text that is too long for a name stays unchanged.
    """
    return text if text.isascii() or len(text) > NORMALISED_MAX else unicodedata.normalize("NFC", text)


def spellings(name: str) -> tuple[str, ...]:
    """Return the forms of a name under which older versions, which compared bytes, may have stored data."""
    forms = [name, *[unicodedata.normalize(form, name) for form in ("NFC", "NFD")]]
    return tuple(dict.fromkeys([form for form in forms if len(form.encode()) <= NAME_MAX_BYTES]))


def check_user_id(text: str) -> str:
    """Return `text` in NFC if it can name a user. Raises `BelfryError` `bad_user_id`."""
    return _check(text, "bad_user_id", "A user id")


def check_topic(text: str) -> str:
    """Return `text` in NFC if it can name a topic. Raises `BelfryError` `bad_topic`."""
    return _check(text, "bad_topic", "A topic")


def _check(given: str, code: str, noun: str) -> str:
    text = nfc(given)
    # Braces would break the Redis hash tag. `isprintable` allows no whitespace except U+0020, and no lone surrogate, so
    # a valid text can be encoded.
    is_printable = text.isprintable() and _BRACES_AND_SPACE.isdisjoint(text)
    if not text or not is_printable or len(text.encode()) > NAME_MAX_BYTES:
        expected = f"1 to {NAME_MAX_BYTES} bytes of printable UTF-8 without whitespace, '{{' or '}}'"
        raise BelfryError(code, f"{noun} is {expected}, got {text[:40]!a}")
    return text
