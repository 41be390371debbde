"""A Flask app of the blueprints that need no store, with a clock that a test can turn."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fakeredis
from flask import Flask, request
from flask.testing import FlaskClient

from app.core.errors import BelfryError
from app.core.identity.tokens import Keyring
from app.core.settings import Settings
from app.core.store_faults import Fault
from app.live.identity.revocation_watch import RevocationWatch
from app.store.identity.revocations import Revocations
from app.store.identity.sessions import Sessions, Tickets
from app.store.insight.audit import Audit
from app.store.insight.figures import FigureStore
from app.transport.connection import Connection
from app.web.api import admin, health, session, tickets
from app.web.edge.answers import Answers
from app.web.edge.auth import Authenticator
from app.web.edge.limits import RateLimits
from app.web.pages import assets, sign_in
from app.web.pages import views as pages

ROOT = Path(__file__).parents[2]
NOW = 1_800_000_000.0
SECRET = "a-secret-of-more-than-32-bytes-for-tests"


@dataclass
class Site:
    """The app, its client, and the time it believes in."""

    client: FlaskClient
    keyring: Keyring
    watch: RevocationWatch
    redis: fakeredis.FakeRedis
    sessions: Sessions
    now: float = NOW
    store_is_up: bool = True
    faults: tuple[Fault, ...] = ()

    def token(self, scopes: str = "feed", seconds: int = 600, user: str = "alice", **claims: Any) -> str:
        return self.keyring.sign(user, scopes.split(), self.now, seconds, **claims)

    def bearer(self, scopes: str = "feed", seconds: int = 600) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token(scopes, seconds)}"}

    def start_session(self, scopes: str = "feed", seconds: int = 600) -> None:
        assert self.client.post("/session", headers=self.bearer(scopes, seconds)).status_code == 201

    def ping(self) -> None:
        if not self.store_is_up:
            raise BelfryError("store_unavailable", headers={"Retry-After": "1"})


def open_site(redis: fakeredis.FakeRedis | None = None, **settings: Any) -> Site:
    """A site with these settings, on new data or on those of `redis`.

    Its client believes in https, so that it sends the cookies that are Secure.
    """
    chosen = Settings.model_validate({"secret": SECRET, **settings})
    app = Flask("site", template_folder=str(ROOT / "templates"), static_folder=str(ROOT / "app/static"))
    keyring = Keyring(chosen)
    redis = redis or fakeredis.FakeRedis()
    commands = Connection(redis, ())
    revocations = Revocations(commands, chosen)
    watch = RevocationWatch(revocations, clock=lambda: site.now)
    sessions = Sessions(commands, chosen)
    site = Site(app.test_client(), keyring, watch, redis, sessions)
    site.client.environ_base["wsgi.url_scheme"] = "https"
    audit = Audit(commands, chosen)
    limits = RateLimits(chosen, lambda: site.now)
    auth = Authenticator(
        keyring,
        sessions,
        Tickets(commands, chosen),
        watch,
        limits,
        chosen,
        clock=lambda: site.now,
    )
    Answers(chosen).install(app)
    assets.install(app)
    for blueprint in (
        session.blueprint(auth, limits),
        tickets.blueprint(auth, limits),
        sign_in.blueprint(auth, audit, limits),
        admin.blueprint(auth, audit, revocations, FigureStore(commands, chosen)),
        pages.blueprint(auth),
        health.blueprint(site.ping, lambda: site.faults),
    ):
        app.register_blueprint(blueprint)
    _add_probes(app, auth)
    return site


def _add_probes(app: Flask, auth: Authenticator) -> None:
    @app.route("/whoami", methods=["GET", "POST"])
    def whoami() -> dict[str, str]:
        return {"user": auth.require(request, "feed").user}

    @app.get("/bug")
    def bug() -> str:
        raise RuntimeError("a secret detail")

    @app.get("/folder/")
    def folder() -> str:
        return ""
