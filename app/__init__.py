"""Belfry rings each user's bell: a self-hosted push server for specific users.

gunicorn's master imports this package before anything is patched, so the factory imports what it needs when called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flask import Flask

    from app.core.settings import Settings

__version__ = "0.1.0"


def create_app(settings: Settings | None = None) -> Flask:
    """The WSGI application: settings → store → hub → blueprints. Opens nothing and starts nothing.

    Reads the environment unless `settings` are given. Raises `SettingsError` where they can't be used.
    """
    import os
    import time
    from pathlib import Path

    from flask import Flask

    from app.core.settings import check_identity, load
    from app.core.tokens import Keyring
    from app.core.upstreams import Upstreams
    from app.realtime.auto_pipeline import AutoPipeline
    from app.realtime.hub import Hub
    from app.realtime.relay import Relay
    from app.realtime.streams import Streams
    from app.store import log, runs
    from app.store.bell import Bell
    from app.store.connection import Connection
    from app.store.feed import Feed
    from app.store.log import LogStore
    from app.store.publisher import Publisher
    from app.store.runs import Runs
    from app.store.subscription import Subscription
    from app.web import completions, feed, headers, health, openai, pages, problems, publish, session, sign_in, stream
    from app.web.auth import Authenticator
    from app.web.turns import Turns

    settings = settings or load(os.environ)
    check_identity(settings)
    clock = time.time

    connection = Connection.open(settings, (*log.SCRIPTS, *runs.SCRIPTS))
    commands = AutoPipeline(connection, settings.redis_timeout_seconds, settings.redis_queue)
    store = LogStore(commands, settings)
    publisher = Publisher(store)
    hub = Hub(store, lambda: Subscription.open(settings), settings, clock)
    streams = Streams(hub, settings, clock)
    run_store = Runs(store, commands, settings, clock)
    relay = Relay(run_store, hub, Upstreams(settings), Bell(publisher, clock).ring, settings)
    auth = Authenticator(Keyring(settings), settings, clock)

    app = Flask(__name__, template_folder=Path(__file__).parent.parent / "templates")
    app.extensions["belfry.streams"] = streams
    app.extensions["belfry.relay"] = relay
    app.wsgi_app = turns = Turns(app.wsgi_app, lambda environ: environ["PATH_INFO"] == "/stream")  # type: ignore[method-assign]
    app.extensions["belfry.turns"] = turns
    headers.install(app)
    problems.install(app)
    for blueprint in (
        publish.blueprint(auth, publisher, settings, clock),
        stream.blueprint(auth, streams, settings),
        feed.blueprint(auth, Feed(store), streams, settings, clock),
        completions.blueprint(auth, run_store, relay, streams, settings),
        openai.blueprint(auth, relay, settings),
        session.blueprint(auth),
        sign_in.blueprint(auth),
        pages.blueprint(auth),
        health.blueprint(connection.ping),
    ):
        app.register_blueprint(blueprint)
    return app
