"""Belfry rings each user's bell: a self-hosted push server for specific users.

gunicorn's master imports this package before anything is patched, so the factory imports what it needs when called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask import Flask

    from app.core.settings import Settings
    from app.realtime.acquaintance import Acquaintance
    from app.realtime.recorder import Recorder
    from app.realtime.streams import Streams
    from app.store.connection import Commands
    from app.store.publisher import Published
    from app.store.revocations import Revocations
    from app.web.auth import Authenticator
    from app.web.limits import Limits

__version__ = "0.1.0"


def create_app(settings: Settings | None = None) -> Flask:
    """The WSGI application: settings → store → hub → blueprints. Opens nothing and starts nothing.

    Reads the environment unless `settings` are given. Raises `SettingsError` where they can't be used.
    """
    import os
    import time

    from app.core.settings import check_identity, load
    from app.core.upstreams import Upstreams
    from app.realtime.acquaintance import Acquaintance
    from app.realtime.auto_pipeline import AutoPipeline
    from app.realtime.flights import Flights
    from app.realtime.hub import Hub
    from app.realtime.models import Models
    from app.realtime.presence import Presence
    from app.realtime.recorder import Recorder
    from app.realtime.relay import Relay
    from app.realtime.reporter import Reporter
    from app.realtime.streams import Streams
    from app.store import directory, figures, lineage, log, runs
    from app.store.audit import Audit
    from app.store.bell import Bell
    from app.store.connection import Connection
    from app.store.directory import Directory
    from app.store.feed import Feed
    from app.store.figures import FigureStore
    from app.store.flights import NOTE, FlightStore
    from app.store.log import LogStore
    from app.store.presence import PresenceStore
    from app.store.publisher import Publisher
    from app.store.read_state import ReadState
    from app.store.readers import Readers
    from app.store.recent import MESSAGES_KEPT, REWRITE, RecentStore
    from app.store.recipients import Recipients
    from app.store.revocations import Revocations
    from app.store.runs import Runs
    from app.store.subscription import Subscription
    from app.store.trace import Tracing
    from app.web import (
        admin,
        completions,
        feed,
        health,
        marking,
        messages,
        metrics,
        openai,
        openapi,
        pages,
        presence,
        publish,
        session,
        sign_in,
        stream,
        tickets,
        users,
    )
    from app.web.admission import Admission
    from app.web.express import Express
    from app.web.limits import Limits
    from app.web.turns import Turns

    settings = settings or load(os.environ)
    check_identity(settings)
    clock = time.time

    scripts = (
        *log.SCRIPTS,
        *lineage.SCRIPTS,
        *runs.SCRIPTS,
        *figures.SCRIPTS,
        *directory.SCRIPTS,
        NOTE,
        REWRITE,
    )
    connection = Connection.open(settings, scripts)
    commands = AutoPipeline(connection, settings.redis_timeout_seconds, settings.redis_queue)
    waits = AutoPipeline(connection, settings.redis_timeout_seconds, settings.redis_queue)
    store = LogStore(commands, settings, waits if settings.publish_wait_replicas else None)
    read_state = ReadState(store, commands, settings)
    recipients = Recipients(store, commands, settings)
    publisher = Publisher(store, recipients)
    presences = PresenceStore(commands, settings)
    flights = FlightStore(commands, settings)
    flown = Flights(flights, clock)
    recent = RecentStore(commands, settings)
    tracing = Tracing(store, recipients, recent, flights, presences)
    users_known = Directory(commands, settings)
    noted = _noted(Recorder(recent.write, MESSAGES_KEPT), Acquaintance(users_known, clock))
    hub = Hub(store, lambda: Subscription.open(settings), settings, clock, connection.follow)
    streams = Streams(hub, Presence(presences, settings.lease_seconds, clock), flown, settings, clock)
    run_store = Runs(store, commands, settings, clock)
    upstreams = Upstreams(settings)
    relay = Relay(run_store, hub, upstreams, Bell(publisher, clock).ring, settings)
    models = Models(relay.session, upstreams, settings)
    audit = Audit(commands, settings)
    revocations = Revocations(commands, settings)
    limits = Limits(settings)
    auth = _authenticator(commands, revocations, streams, limits, settings, clock)

    admission = Admission(publisher, settings.publish_queue_seconds)
    desk = publish.Desk(auth, admission, noted, audit, limits, settings, clock)
    entrance = stream.Entrance(streams, limits, settings)

    app = _shell(settings)
    app.extensions["belfry.hub"] = hub
    app.extensions["belfry.streams"] = streams
    app.extensions["belfry.relay"] = relay
    app.extensions["belfry.admission"] = admission
    figure_store = FigureStore(commands, settings)
    app.extensions["belfry.reporter"] = Reporter(figure_store, streams, settings.figures_seconds, clock)
    for views in (
        publish.blueprint(auth, desk),
        stream.blueprint(auth, entrance),
        feed.blueprint(auth, Feed(store), streams, limits, settings, clock),
        completions.blueprint(auth, run_store, relay, streams, entrance, limits, settings),
        openai.blueprint(auth, relay, models, settings),
        marking.blueprint(auth, read_state, flown.changed, settings),
        messages.blueprint(auth, recipients, store, recent, Readers(store, users_known, settings), flown, audit),
        users.blueprint(
            auth, store, read_state, presences, flights, revocations, run_store, audit, users_known, tracing, recent
        ),
        presence.blueprint(auth, presences, audit),
        session.blueprint(auth, limits),
        tickets.blueprint(auth, limits),
        sign_in.blueprint(auth, audit, limits),
        pages.blueprint(auth),
        admin.blueprint(auth, audit, revocations, figure_store),
        health.blueprint(connection.ping, hub.canary.check),
        metrics.blueprint(),
        openapi.blueprint(),
    ):
        app.register_blueprint(views)
    turns = Turns(Express(app, auth, desk, entrance), lambda environ: environ["PATH_INFO"] == "/stream")
    app.wsgi_app = turns  # type: ignore[method-assign]
    app.extensions["belfry.turns"] = turns
    return app


def _noted(
    recorder: Recorder[tuple[str, Published]], acquaintance: Acquaintance
) -> Callable[[tuple[str, Published]], None]:
    """What becomes of a message after it was published, and by whom: administrators find it, and its recipients."""

    def note(published: tuple[str, Published]) -> None:
        recorder.note(published)
        acquaintance.note(published[1].message.logs)

    return note


def _shell(settings: Settings) -> Flask:
    """The application without a view: what every answer goes through."""
    from pathlib import Path

    from flask import Flask

    from app.web import assets, cors, headers, problems

    app = Flask(__name__, template_folder=Path(__file__).parent.parent / "templates")
    headers.install(app)
    assets.install(app)
    cors.install(app, settings)
    problems.install(app)
    return app


def _authenticator(
    commands: Commands,
    revocations: Revocations,
    streams: Streams,
    limits: Limits,
    settings: Settings,
    clock: Callable[[], float],
) -> Authenticator:
    """Who may do what, and the wires by which a credential that is withdrawn ends its streams."""
    from app.core.tokens import Keyring
    from app.realtime.key_source import KeySource
    from app.realtime.revocation_watch import RevocationWatch
    from app.store.sessions import Sessions
    from app.store.tickets import Tickets
    from app.web.auth import Authenticator

    watch = RevocationWatch(revocations, clock)
    watch.listeners.append(lambda fresh: streams.end(fresh.covers))
    keyring = Keyring(settings)
    keyring.listeners.append(lambda ring: streams.end(lambda claims: not ring.trusts(claims)))
    source = KeySource(settings.jwks_url, settings.jwks_seconds, keyring) if settings.jwks_url else None
    sessions, tickets = Sessions(commands, settings), Tickets(commands, settings)
    return Authenticator(keyring, sessions, tickets, watch, limits, settings, clock, source)
