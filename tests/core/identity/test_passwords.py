"""The administrator's password is known by a hash alone."""

from __future__ import annotations

import pytest

from app.core.identity import passwords
from app.core.identity.passwords import PasswordHash, hash_password


@pytest.fixture(scope="module")
def stored() -> str:
    return hash_password("correct horse ✓")


def test_the_right_password_fits_and_another_does_not(stored: str) -> None:
    assert PasswordHash.parse(stored).fits("correct horse ✓")
    assert not PasswordHash.parse(stored).fits("correct horse")
    assert not PasswordHash.parse(stored).fits("")


def test_the_same_password_is_never_hashed_to_the_same_text(stored: str) -> None:
    assert hash_password("correct horse ✓") != stored


def test_a_hash_can_stand_in_a_shell_and_in_a_compose_file(stored: str) -> None:
    assert not set(stored) & set("$'\"\\ #%")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "secret",
        "scrypt:1024:8:1:" + "a" * 22 + ":" + "a" * 43,
        "scrypt:32769:8:1:" + "a" * 22 + ":" + "a" * 43,
        "scrypt:32768:99:1:" + "a" * 22 + ":" + "a" * 43,
        "scrypt:1048576:8:1:" + "a" * 22 + ":" + "a" * 43,
        "scrypt:32768:8:1:short:" + "a" * 43,
    ],
)
def test_what_is_no_hash_of_ours_or_too_weak_or_too_costly_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="hash"):
        PasswordHash.parse(text)


def test_the_cost_is_what_is_recommended() -> None:
    assert passwords.COST * passwords.BLOCK * 128 == 32 * 1024 * 1024
