"""The factory: settings → store → hub → blueprints. It opens nothing and starts nothing."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from flask import Blueprint, Flask
from prometheus_client import Gauge

from . import __version__
from . import metrics as families
from .core.identity.tokens import Keyring
from .core.redis_url import is_cluster
from .core.settings import Settings, check_identity, load
from .core.upstreams import Upstreams
from .launch.address import AddressError, BindAddress
from .live.delivery.hub import Hub
from .live.identity.key_source import KeySource
from .live.identity.revocation_watch import RevocationWatch
from .live.insight.presence import Presence
from .live.insight.recorder import Flights, KnownUsers, Recorder
from .live.insight.reporter import Reporter
from .live.push.pusher import Pusher
from .live.runs.models import Models
from .live.runs.relay import Relay
from .live.streams.streams import Streams
from .live.timers.deliverer import Deliverer
from .server import sockets
from .server.gates import admission, concurrency_limit
from .server.gates.concurrency_limit import ConcurrencyLimit
from .store import examination
from .store.conversations import conversations
from .store.conversations.conversations import Conversations
from .store.identity.revocations import Revocations
from .store.identity.sessions import Sessions, Tickets
from .store.insight import directory, figures, recent
from .store.insight.audit import Audit
from .store.insight.directory import Directory
from .store.insight.figures import FigureStore
from .store.insight.flights import NOTE, FlightStore
from .store.insight.presence import PresenceStore
from .store.insight.recent import MESSAGES_KEPT, RecentStore
from .store.insight.trace import Tracing
from .store.keys import PUSHES, TIMERS, Keys
from .store.logs import log, succession
from .store.logs.delivery import Readers
from .store.logs.feed import Feed
from .store.logs.lineage import Lineage
from .store.logs.log import LogStore
from .store.logs.newcomers import Newcomers
from .store.logs.publisher import Published, Publisher
from .store.logs.read_state import ReadState
from .store.logs.recipients import Recipients
from .store.logs.succession import Succession
from .store.push import pushes, subscriptions
from .store.push.pushes import Pushes
from .store.push.subscriptions import Subscriptions
from .store.runs import runs
from .store.runs.run_announcer import RunAnnouncer
from .store.runs.runs import Runs
from .store.timers import timers
from .store.timers.timers import Timers
from .transport.cluster import Cluster
from .transport.shard import OneShard, Shards
from .web.api import (
    admin,
    feed,
    health,
    marking,
    messages,
    openapi,
    presence,
    publish,
    push,
    scheduled,
    session,
    stream,
    tickets,
    users,
)
from .web.api.publish import GROUPS_UNDER_WAY
from .web.api.scheduling import Scheduling
from .web.completions import conversations as conversation_views
from .web.completions import openai, responses
from .web.completions import runs as completions
from .web.completions.conversations import ConversationViews
from .web.edge.answers import Answers
from .web.edge.auth import Authenticator
from .web.edge.endpoint import Endpoint, Endpoints
from .web.edge.limits import RateLimits
from .web.edge.loopback import Loopback
from .web.edge.paths import Site
from .web.edge.prefix import Prefix
from .web.edge.prepared_answers import PreparedAnswer, PreparedRefusals
from .web.pages import assets, documentation, sign_in
from .web.pages import views as pages

SCRIPTS: Final = (
    *log.SCRIPTS,
    *succession.SCRIPTS,
    *examination.SCRIPTS,
    *runs.SCRIPTS,
    *conversations.SCRIPTS,
    *figures.SCRIPTS,
    *directory.SCRIPTS,
    *recent.SCRIPTS,
    *timers.SCRIPTS,
    *subscriptions.SCRIPTS,
    *pushes.SCRIPTS,
    NOTE,
)
PACKAGE: Final = Path(__file__).parent
TEMPLATES: Final = next(  # in the package where it is installed, beside it in a checkout
    folder for folder in (PACKAGE / "templates", PACKAGE.parent / "templates") if folder.is_dir()
)

Clock = Callable[[], float]


def create_app(settings: Settings | None = None) -> Flask:
    """See `create_app` of the package."""
    settings = settings or load(os.environ)
    check_identity(settings)
    store = Stored(settings, time.time)
    live = Live(store, settings, time.time)
    web = Web(store, live, settings, time.time)

    families.begin(__version__)
    app = _shell(web.answers)
    for views in web.blueprints():
        app.register_blueprint(views)
    endpoints = Endpoints(app.wsgi_app, web.endpoints())
    limited = ConcurrencyLimit(
        endpoints, lambda environ: environ["PATH_INFO"] == "/stream", web.answers.refusing(concurrency_limit.REFUSAL)
    )
    here = Loopback(limited, web.answers, _bound_host(settings)) if settings.demo else limited
    app.wsgi_app = Prefix(here, settings)  # type: ignore[method-assign]  # as Flask's manual wraps middleware around an application
    app.extensions |= {  # for the worker, which starts and stops them
        "belfry.hub": live.hub,
        "belfry.streams": live.streams,
        "belfry.relay": live.relay,
        "belfry.models": live.models,
        "belfry.reporter": live.reporter,
        "belfry.deliverer": live.deliverer,
        "belfry.pusher": live.pusher,
        "belfry.admission": web.admission,
        "belfry.concurrency_limit": limited,
        "belfry.endpoints": endpoints.paths,
        "belfry.max_head_bytes": settings.max_head_bytes,
        "belfry.refusals": PreparedRefusals(
            *[
                PreparedAnswer(web.answers, error, settings.allowed_origins)
                for error in (admission.REFUSAL, sockets.NO_DESCRIPTOR, admission.NO_PLACE)
            ]
        ),
    }
    return app


def _bound_host(settings: Settings) -> str:
    """The host that the server listens on; "" where gunicorn alone understands the setting."""
    try:
        return BindAddress.parse(settings.bind).host
    except AddressError:
        return ""


class Stored:
    """The store layer: everything that is kept in Redis."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self.shards: Shards = (Cluster if is_cluster(settings.redis_url) else OneShard)(settings, SCRIPTS)
        self.commands = commands = self.shards.pipeline()
        waits = self.shards.pipeline() if settings.publish_wait_replicas else None
        batches = self.shards.pipeline(lanes=1, depth=GROUPS_UNDER_WAY)
        lineage = self._lineage(settings)
        self.logs = LogStore(commands, settings, waits, batches, self.shards.slot_of, lineage)
        self.read_state = ReadState(self.logs, commands, settings)
        self.newcomers = Newcomers(self.read_state, commands, settings)
        self.recipients = Recipients(self.logs, commands, settings)
        self.subscriptions = Subscriptions(commands, settings)
        self.pushes = Pushes(commands, settings, clock)
        self.publisher = Publisher(self.logs, self.recipients, self.pushes.add if settings.push_private_key else None)
        self.timers = Timers(commands, settings, waits)
        self.presences = PresenceStore(commands, settings)
        self.flights = FlightStore(commands, settings)
        self.recent = RecentStore(commands, settings)
        self.tracing = Tracing(self.logs, self.recipients, self.recent, self.flights, self.presences)
        self.directory = Directory(commands, settings)
        self.conversations = Conversations(commands, settings, clock)
        self.runs = Runs(self.logs, commands, settings, clock, self.conversations)
        self.audit = Audit(commands, settings)
        self.revocations = Revocations(commands, settings)
        self.figures = FigureStore(commands, settings)

    def _lineage(self, settings: Settings) -> Lineage:
        keys = Keys(settings.redis_prefix, settings.redis_db)
        if is_cluster(settings.redis_url):
            return Succession(self.commands, keys, settings.history_seconds)
        return Lineage(self.commands, keys, settings.switchover_seconds)


class Live:
    """The gevent layer: the hub, open streams, runs under way, and recorders."""

    def __init__(self, store: Stored, settings: Settings, clock: Clock) -> None:
        self.flights = Flights(store.flights, clock)
        self.recorder = Recorder(store.recent.write, MESSAGES_KEPT)
        self.known_users = KnownUsers(store.directory, clock)
        self.hub = Hub(
            store.logs,
            store.shards,
            settings,
            clock,
        )
        presence = Presence(store.presences, settings.lease_seconds, clock)
        self.streams = Streams(self.hub, presence, self.flights, settings, clock)
        upstreams = Upstreams(settings)
        self.relay = Relay(store.runs, self.hub, upstreams, RunAnnouncer(store.publisher, clock).announce, settings)
        self.models = Models(self.relay.clients, upstreams)
        self.watch = RevocationWatch(store.revocations, clock)
        self.deliverer = Deliverer(store.timers, store.publisher, self.watch, store.audit, self.note, clock)
        self.hub.listen(TIMERS, self.deliverer.heard)
        self.pusher = self._pusher(store, settings, clock) if settings.push_private_key else None
        gauges: dict[Gauge, Callable[[], float]] = {
            families.SLOW_STREAMS: lambda: self.streams.slow,
            families.OUTBOX_BYTES: lambda: self.streams.outbox_bytes,
            families.RUNS: lambda: len(self.relay),
        }
        self.reporter = Reporter(store.figures, self.streams, settings.figures_seconds, clock, gauges)

    def _pusher(self, store: Stored, settings: Settings, clock: Clock) -> Pusher:
        stores = store.pushes, store.subscriptions, store.logs, store.presences
        pusher = Pusher(*stores, self.watch, self.flights, settings, clock)
        self.hub.listen(PUSHES, pusher.heard)
        return pusher

    def note(self, published: tuple[str, Published]) -> None:
        """Note a published message for administrators, and its recipients as known users."""
        self.recorder.note(published)
        self.known_users.note(published[1].message.logs)


class Web:
    """The HTTP layer: authentication, limits, and the views, grouped by the people who use them."""

    def __init__(self, store: Stored, live: Live, settings: Settings, clock: Clock) -> None:
        self._store, self._live, self._settings, self._clock = store, live, settings, clock
        self.limits = RateLimits(settings)
        self.answers = Answers(settings)
        self.auth = _authenticator(store, live, self.limits, settings, clock)
        if live.pusher is not None:
            live.pusher.trusts = self.auth.trusts
        self.admission = admission.Admission(store.publisher, settings.publish_queue_seconds)
        self.scheduling = Scheduling(store.timers, self.auth, store.audit, settings)
        self.publish_handler = publish.PublishHandler(
            self.auth, self.admission, self.scheduling, live.note, store.audit, self.limits, settings, clock
        )
        self.stream_handler = stream.StreamHandler(live.streams, store.newcomers, self.limits, self.answers, settings)

    def endpoints(self) -> dict[str, Endpoint]:
        """The paths that Flask does not handle."""
        return {
            "/publish": publish.endpoint(self.auth, self.publish_handler, self.answers),
            "/stream": stream.endpoint(self.auth, self.stream_handler),
        }

    def blueprints(self) -> Iterator[Blueprint]:
        yield from self.for_publishers()
        yield from self.for_readers()
        yield from self.for_completions()
        yield from self.for_administrators()
        yield from self.for_anyone()

    def for_publishers(self) -> tuple[Blueprint, ...]:
        store, auth = self._store, self.auth
        return (
            messages.blueprint(self._message_views()),
            scheduled.blueprint(auth, self.scheduling),
            presence.blueprint(auth, store.presences, store.audit, self.limits),
        )

    def _message_views(self) -> messages.MessageViews:
        store = self._store
        return messages.MessageViews(
            self.auth,
            store.recipients,
            store.logs,
            store.recent,
            Readers(store.logs, store.directory, self._settings),
            self._live.flights,
            store.audit,
            self.scheduling,
        )

    def for_readers(self) -> tuple[Blueprint, ...]:
        store, live, auth, settings = self._store, self._live, self.auth, self._settings
        return (
            feed.blueprint(
                auth,
                Feed(store.logs),
                store.newcomers,
                live.streams,
                self.limits,
                settings,
                self._clock,
                live.known_users.visit,
            ),
            marking.blueprint(auth, store.read_state, live.flights.changed, settings),
            session.blueprint(auth, self.limits),
            tickets.blueprint(auth, self.limits),
            push.blueprint(
                push.PushViews(auth, store.subscriptions, store.read_state, live.flights.changed, self._clock)
            ),
        )

    def for_completions(self) -> tuple[Blueprint, ...]:
        live, auth, settings = self._live, self.auth, self._settings
        api = openai.Api(auth, live.relay, settings)
        runs, streams = self._store.runs, live.streams
        return (
            completions.blueprint(self._run_views()),
            conversation_views.blueprint(
                ConversationViews(auth, self._store.conversations, runs, live.relay, settings)
            ),
            openai.blueprint(api, auth, live.models),
            responses.blueprint(
                responses.ResponseViews(
                    auth, api, runs, live.relay, streams, self.stream_handler, self.limits, settings.proxies
                )
            ),
        )

    def for_administrators(self) -> tuple[Blueprint, ...]:
        store, auth = self._store, self.auth
        return (
            users.blueprint(self._user_views()),
            admin.blueprint(auth, store.audit, store.revocations, store.figures),
        )

    def _run_views(self) -> completions.RunViews:
        live, settings = self._live, self._settings
        return completions.RunViews(
            self.auth,
            self._store.runs,
            live.relay,
            live.streams,
            self.stream_handler,
            self.limits,
            settings.max_completion_bytes,
            settings.body_seconds,
            settings.proxies,
        )

    def _user_views(self) -> users.UserViews:
        store = self._store
        return users.UserViews(
            self.auth,
            store.logs,
            store.read_state,
            store.presences,
            store.flights,
            store.revocations,
            store.runs,
            store.conversations,
            store.subscriptions,
            store.audit,
            store.directory,
            store.tracing,
            store.recent,
        )

    def for_anyone(self) -> tuple[Blueprint, ...]:
        """Views that need no credential, and those for operators."""
        return (
            sign_in.blueprint(self.auth, self._store.audit, self.limits),
            pages.blueprint(self.auth),
            health.blueprint(self._check_ready, lambda: self._live.hub.canaries.faults),
            openapi.blueprint(__version__),
            documentation.blueprint(),
        )

    def _check_ready(self) -> None:
        """Raises `BelfryError` `shutting_down` or `store_unavailable`.

        In a worker the canaries know whether the store is available. Without a worker, Redis is asked.
        """
        self._live.streams.stay()
        hub = self._live.hub
        (hub.canaries.check if hub.is_running else self._store.shards.ping)()


def _shell(answers: Answers) -> Flask:
    """The Flask application without views: the parts that handle every answer."""
    app = Site(__package__ or "", template_folder=TEMPLATES)
    answers.install(app)
    assets.install(app)
    return app


def _authenticator(store: Stored, live: Live, limits: RateLimits, settings: Settings, clock: Clock) -> Authenticator:
    """The authenticator, connected so that a withdrawn credential ends its streams."""
    watch, streams = live.watch, live.streams
    watch.listeners.append(lambda fresh: streams.end(fresh.covers))
    keyring = Keyring(settings)
    keyring.listeners.append(lambda announce: streams.end(lambda claims: not announce.trusts(claims)))
    source = KeySource(settings.jwks_url, settings.jwks_seconds, keyring) if settings.jwks_url else None
    sessions = Sessions(store.commands, settings)
    if settings.push_private_key:
        sessions.listeners.append(store.subscriptions.end_session)
    return Authenticator(keyring, sessions, Tickets(store.commands, settings), watch, limits, settings, clock, source)
