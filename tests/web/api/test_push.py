"""Reading from a notification: a request without a credential that counts for its user."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, NoReturn

from flask import Flask

from app.core.errors import BelfryError
from app.core.push.vapid import VapidKey
from app.core.settings import Settings
from app.launch.demo import new_push_key
from app.web.api import push
from app.web.edge.answers import Answers


def test_reading_from_a_notification_counts_against_the_users_limit() -> None:
    settings = Settings(redis_url="redis://unused.invalid", push_private_key=new_push_key())
    counted: list[str] = []

    def count(user: str) -> NoReturn:
        counted.append(user)
        raise BelfryError("rate_limited")

    auth: Any = SimpleNamespace(settings=settings, count_request=count)
    store: Any = None  # is not reached
    app = Flask("site")
    Answers(settings).install(app)
    app.register_blueprint(push.blueprint(push.PushViews(auth, store, store, store, lambda: 0.0)))
    proof = VapidKey(settings.push_private_key).proof("alice", "m")
    answer = app.test_client().post("/push/read", json={"user": "alice", "id": "m", "proof": proof})
    assert (answer.status_code, counted) == (429, ["alice"])
