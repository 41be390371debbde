"""The deployment's key for push services, and the proofs that it signs."""

from __future__ import annotations

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey

from app.core import jws
from app.core.push.private_key import ORDER, encoded_key, number_of
from app.core.push.vapid import LIFE_SECONDS, ORIGINS_KEPT, RENEW_SECONDS, VapidKey
from app.launch.demo import new_push_key

KEY = "yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw"
PUBLIC = (
    "BP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A8"  # RFC 8291 appendix A
)
NOW = 1_800_000_000.0


def claims_of(header: str, origin: str) -> dict[str, object]:
    token = header.removeprefix("vapid t=").partition(",")[0]
    point = EllipticCurvePublicKey.from_encoded_point(SECP256R1(), jws.decoded(PUBLIC))
    verified: dict[str, object] = jwt.decode(
        token, point, algorithms=["ES256"], audience=origin, options={"verify_exp": False}
    )
    return verified


def test_the_header_is_signed_for_one_push_service() -> None:
    key = VapidKey(KEY, "mailto:ops@example.com")
    assert key.public == PUBLIC
    header = key.authorization("https://push.example.com", NOW)
    assert header.endswith(f", k={PUBLIC}")
    assert claims_of(header, "https://push.example.com") == {
        "aud": "https://push.example.com",
        "exp": int(NOW) + LIFE_SECONDS,
        "sub": "mailto:ops@example.com",
    }
    assert "sub" not in claims_of(VapidKey(KEY).authorization("https://a.example", NOW), "https://a.example")


def test_a_signature_serves_for_hours_and_no_longer() -> None:
    key = VapidKey(KEY)
    first = key.authorization("https://a.example", NOW)
    assert key.authorization("https://a.example", NOW + RENEW_SECONDS - 1) == first
    assert key.authorization("https://b.example", NOW) != first
    later = key.authorization("https://a.example", NOW + RENEW_SECONDS + 1)
    assert later != first
    assert key.authorization("https://a.example", NOW - 60) != later, "the clock was set back"


def test_signatures_for_many_push_services_are_not_all_kept() -> None:
    key = VapidKey(KEY)
    first = key.authorization("https://0.example", NOW)
    for number in range(1, ORIGINS_KEPT):
        key.authorization(f"https://{number}.example", NOW)
    assert key.authorization("https://0.example", NOW + 1) == first
    key.authorization("https://more.example", NOW)
    assert len(key._signed) == ORIGINS_KEPT
    assert key.authorization("https://0.example", NOW + 1) != first, "the oldest one went"


def test_a_proof_is_for_one_message_of_one_user() -> None:
    key, other = VapidKey(KEY), VapidKey(new_push_key())
    proof = key.proof("alice", "m1")
    assert key.proves(proof, "alice", "m1")
    for wrong in (key.proof("bob", "m1"), key.proof("alice", "m2"), other.proof("alice", "m1"), "", "ö", proof + "A"):
        assert not key.proves(wrong, "alice", "m1")


@pytest.mark.parametrize("text", ["", "short", encoded_key(0), encoded_key(ORDER), f"{KEY}AA", "ö" * 43])
def test_what_is_no_private_key_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="belfry push-key"):
        number_of(text)


def test_the_smallest_and_the_largest_key_and_a_new_one_are_taken() -> None:
    for text in (encoded_key(1), encoded_key(ORDER - 1), new_push_key(), f"{KEY}="):
        assert len(VapidKey(text).public) == 87
