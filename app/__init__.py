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
    from app.realtime.flights import Flights
    from app.realtime.hub import Hub
    from app.realtime.presence import Presence
    from app.realtime.recorder import Recorder
    from app.realtime.relay import Relay
    from app.realtime.streams import Streams
    from app.store import log, runs
    from app.store.bell import Bell
    from app.store.connection import Connection
    from app.store.feed import Feed
    from app.store.flights import FlightStore
    from app.store.log import LogStore
    from app.store.presence import PresenceStore
    from app.store.publisher import Publisher
    from app.store.read_state import ReadState
    from app.store.recent import MESSAGES_KEPT, RecentStore
    from app.store.recipients import Recipients
    from app.store.runs import Runs
    from app.store.subscription import Subscription
    from app.web import (
        assets,
        completions,
        feed,
        headers,
        health,
        marking,
        messages,
        openai,
        pages,
        presence,
        problems,
        publish,
        session,
        sign_in,
        stream,
        users,
    )
    from app.web.auth import Authenticator
    from app.web.turns import Turns

    settings = settings or load(os.environ)
    check_identity(settings)
    clock = time.time

    connection = Connection.open(settings, (*log.SCRIPTS, *runs.SCRIPTS))
    commands = AutoPipeline(connection, settings.redis_timeout_seconds, settings.redis_queue)
    store = LogStore(commands, settings)
    read_state = ReadState(store, commands, settings)
    recipients = Recipients(store, commands, settings)
    presences = PresenceStore(commands, settings)
    flights = FlightStore(commands, settings)
    recent = RecentStore(commands, settings)
    note = Recorder(recent.write, MESSAGES_KEPT).note
    publisher = Publisher(store, recipients)
    hub = Hub(store, lambda: Subscription.open(settings), settings, clock)
    streams = Streams(hub, Presence(presences, settings.lease_seconds, clock), Flights(flights, clock), settings, clock)
    run_store = Runs(store, commands, settings, clock)
    relay = Relay(run_store, hub, Upstreams(settings), Bell(publisher, clock).ring, settings)
    auth = Authenticator(Keyring(settings), settings, clock)

    app = Flask(__name__, template_folder=Path(__file__).parent.parent / "templates")
    app.extensions["belfry.streams"] = streams
    app.extensions["belfry.relay"] = relay
    app.wsgi_app = turns = Turns(app.wsgi_app, lambda environ: environ["PATH_INFO"] == "/stream")  # type: ignore[method-assign]
    app.extensions["belfry.turns"] = turns
    headers.install(app)
    assets.install(app)
    problems.install(app)
    for views in (
        publish.blueprint(auth, publisher, note, settings, clock),
        stream.blueprint(auth, streams, settings),
        feed.blueprint(auth, Feed(store), streams, settings, clock),
        marking.blueprint(auth, read_state, settings),
        messages.blueprint(auth, recipients, store, recent),
        users.blueprint(auth, store, read_state, presences, flights),
        presence.blueprint(auth, presences),
        completions.blueprint(auth, run_store, relay, streams, settings),
        openai.blueprint(auth, relay, settings),
        session.blueprint(auth),
        sign_in.blueprint(auth),
        pages.blueprint(auth),
        health.blueprint(connection.ping),
    ):
        app.register_blueprint(views)
    return app
