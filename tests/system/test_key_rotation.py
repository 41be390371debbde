"""A key that its issuer takes back ends what was opened with it, on a running server."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ed25519

from tests.servers import Belfry

KEYS = {kid: ed25519.Ed25519PrivateKey.generate() for kid in ("old", "new")}


@contextmanager
def issuer(kids: list[str]) -> Iterator[str]:
    """Publishes the keys that `kids` names at the time of asking."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            to_jwk = jwt.get_algorithm_by_name("EdDSA").to_jwk
            keys = [{**to_jwk(KEYS[kid].public_key(), as_dict=True), "kid": kid} for kid in kids]
            self.send_response(200 if kids else 503)
            self.end_headers()
            self.wfile.write(json.dumps({"keys": keys}).encode())

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/keys"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def token(kid: str, user: str) -> str:
    claims = {"sub": user, "scope": "feed", "iat": int(time.time()), "exp": time.time() + 600}
    return jwt.encode(claims, KEYS[kid], "EdDSA", headers={"kid": kid})


def test_a_rotated_key_s_streams_end_and_the_next_key_s_stay(start_belfry: Callable[..., Belfry], alice: str) -> None:
    published = ["old", "new"]
    with issuer(published) as url:
        belfry = start_belfry(BELFRY_JWKS_URL=url, BELFRY_JWKS_SECONDS="1")
        with (
            belfry.stream(alice, token=token("old", alice)) as old,
            belfry.stream(alice, token=token("new", alice)) as new,
        ):
            old.wait_for("ready")
            new.wait_for("ready")
            published.clear()  # an outage changes nothing
            belfry.publish({"to": alice, "data": 1})
            old.wait_for_messages(1)
            published.append("new")
            assert "revoked" in old.wait_for("goodbye").data
            belfry.publish({"to": alice, "data": 2})
            new.wait_for_messages(2)
        with belfry.stream(alice, token=token("old", alice)) as refused:
            assert (refused.status, refused.body()["code"]) == (401, "token_invalid")


def session_of(belfry: Belfry, bearer: str) -> str:
    answer = belfry.api(bearer).post("/session")
    assert answer.status_code == 201, answer.text
    ((name, value),) = answer.cookies.items()
    return f"{name}={value}"


def status(belfry: Belfry, cookie: str) -> tuple[int, str]:
    answer = belfry.api().get("/feed", headers={"Cookie": cookie})
    return answer.status_code, answer.json().get("code", "")


def test_a_session_outlives_a_restart_but_not_the_key_that_vouched_for_it(
    start_belfry: Callable[..., Belfry], alice: str
) -> None:
    published = ["old", "new"]
    with issuer(published) as url:
        settings = {"BELFRY_JWKS_URL": url, "BELFRY_REDIS_PREFIX": f"test-{alice}"}
        first = start_belfry(**settings)
        by_old, by_new = (session_of(first, token(kid, alice)) for kid in ("old", "new"))
        second = start_belfry(**settings)  # knows no key yet: no token has come
        assert status(second, by_old) == (200, "")
        published.remove("old")
        third = start_belfry(**settings)
        assert status(third, by_old) == (401, "token_revoked")
        assert status(third, by_new) == (200, "")
