"""The encryption of push messages: RFC 8291's own example, and what browsers may send as keys."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, derive_private_key

from app.core import jws
from app.core.push.encryption import PLAINTEXT_MAX, RECORD_BYTES, DeviceKeys, encrypt, point_of
from tests.push_service import Browser

# RFC 8291 appendix A
PLAINTEXT = b"When I grow up, I want to be a watermelon"
SENDER = derive_private_key(
    int.from_bytes(jws.decoded("yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw"), "big"), SECP256R1()
)
RECEIVER = "q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94"
P256DH = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"
AUTH = "BTBZMqHH6r4Tts7J_aSIgg"
SALT = jws.decoded("DGv6ra1nlYgDCS1FRnbzlw")
BODY = (
    "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A_"
    "yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"
)


def test_the_example_of_the_rfc_comes_out() -> None:
    body = encrypt(PLAINTEXT, DeviceKeys.parse(P256DH, AUTH), sender=SENDER, salt=SALT)
    assert jws.encoded(body) == BODY


def test_the_stand_in_browser_reads_the_example_of_the_rfc() -> None:
    number = int.from_bytes(jws.decoded(RECEIVER), "big")
    browser = Browser(derive_private_key(number, SECP256R1()), jws.decoded(AUTH))
    assert browser.p256dh == P256DH
    assert browser.decrypted(jws.decoded(BODY)) == PLAINTEXT


def test_the_longest_text_fits_one_record() -> None:
    browser = Browser()
    body = encrypt(b"x" * PLAINTEXT_MAX, browser.keys, sender=SENDER, salt=SALT)
    assert len(body) == RECORD_BYTES
    assert browser.decrypted(body) == b"x" * PLAINTEXT_MAX


def test_padded_base64_is_read_too() -> None:
    assert DeviceKeys.parse(f"{P256DH}=", f"{AUTH}==") == DeviceKeys.parse(P256DH, AUTH)


@pytest.mark.parametrize(
    ("p256dh", "auth", "told"),
    [
        (P256DH[:-4], AUTH, "p256dh: expected 65 bytes"),
        (P256DH, AUTH[:-3], "auth: expected"),
        ("ö" * 87, AUTH, "p256dh: expected base64url"),
        (jws.encoded(b"\x04" + bytes(64)), AUTH, "point of the curve"),
        (jws.encoded(b"\x02" + point_of(SENDER)[1:]), AUTH, "point of the curve"),
        ("", "", "p256dh: expected 65 bytes"),
    ],
)
def test_other_keys_are_refused_clearly(p256dh: str, auth: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        DeviceKeys.parse(p256dh, auth)
