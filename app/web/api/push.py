"""`/push`: the public key for browsers, the devices that a user's browsers subscribe, and reading from a notification.

A browser chooses the address of its push service, so the address is checked here and again at each connection.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Self, TypeVar

from flask import Blueprint, Response, request
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from ...core.errors import BelfryError
from ...core.identity.names import check_user_id
from ...core.identity.tokens import Claims
from ...core.log.change import Change
from ...core.log.marks import Mark
from ...core.message import MessageId, OnlyTrue
from ...core.push import endpoint
from ...core.push.encryption import DeviceKeys
from ...core.push.vapid import VapidKey
from ...core.wire import faults, strict_json
from ...core.wire.frames import compact
from ...core.wire.times import rfc3339
from ...store.keys import user_log
from ...store.logs.read_state import ReadState
from ...store.push.subscriptions import Subscriptions, longest_seconds
from ..edge.auth import Authenticator
from ..edge.reading import json_body

BODY_MAX_BYTES = 8_192
TEXT_MAX = 128  # characters of a key, a proof and a user id
EXPIRATION_MAX = 1e15  # Unix ms; longer integers have no float

Text = Annotated[str, Field(max_length=TEXT_MAX)]
EndpointText = Annotated[str, Field(max_length=endpoint.ENDPOINT_MAX)]
ExpirationTime = Annotated[float, Field(ge=0, le=EXPIRATION_MAX)]
LENIENT = ConfigDict(extra="ignore", strict=True)  # later browsers may add members

Body = TypeVar("Body", bound=BaseModel)


class SubscriptionKeys(BaseModel):
    """The keys of a subscription, in base64url."""

    model_config = LENIENT

    p256dh: Text
    auth: Text


class PushSubscription(BaseModel):
    """The body of `POST /push/subscriptions`, as `PushSubscription.toJSON()` of browsers writes it."""

    model_config = LENIENT

    endpoint: EndpointText
    keys: SubscriptionKeys
    expirationTime: ExpirationTime | None = None  # noqa: N815 - the browsers' own name


class PushEnd(BaseModel):
    """The body of `DELETE /push/subscriptions`: one device, or all devices of the user."""

    model_config = LENIENT

    endpoint: EndpointText | None = None
    all: OnlyTrue | None = None

    @model_validator(mode="after")
    def _names_one(self) -> Self:
        if (self.endpoint is None) == (self.all is None):
            raise PydanticCustomError("bad_subscription", 'expected either "endpoint" or "all": true')
        return self


class PushRead(BaseModel):
    """The body of `POST /push/read`: three members of the push's payload."""

    model_config = LENIENT

    user: Text
    id: MessageId
    proof: Text


def blueprint(push_views: PushViews) -> Blueprint:
    """Return the views of `/push`."""
    views = Blueprint("push", __name__)
    views.get("/push/key")(push_views.public_key)
    views.post("/push/subscriptions")(push_views.subscribe)
    views.delete("/push/subscriptions")(push_views.unsubscribe)
    views.post("/push/read")(push_views.read)
    return views


class PushViews:
    """The views of `/push`. Each change of a feed calls `note` with the user's id and the change."""

    def __init__(
        self,
        auth: Authenticator,
        subscriptions: Subscriptions,
        read_state: ReadState,
        note: Callable[[str, Change], None],
        clock: Callable[[], float],
    ) -> None:
        self._auth = auth
        self._subscriptions = subscriptions
        self._read_state = read_state
        self._note = note
        self._clock = clock
        self._settings = auth.settings
        self._own_key = VapidKey(auth.settings.push_private_key) if auth.settings.push_private_key else None

    def public_key(self) -> Response:
        claims = self._auth.require(request, "feed")
        return _answer({"key": self._key.public, "user": claims.user})

    def subscribe(self) -> Response:
        claims = self._auth.require(request, "feed")
        given = self._sent(PushSubscription, claims)
        seconds = self._lifetime(given)
        keys = given.keys.p256dh, given.keys.auth
        try:
            endpoint.parse(given.endpoint, self._settings.push_host_patterns, self._settings.own_push_networks)
            DeviceKeys.parse(*keys)
        except ValueError as error:
            raise BelfryError("bad_subscription", f"{error}.") from None
        now = self._clock()
        self._subscriptions.add(given.endpoint, keys, claims, now, seconds)
        return _answer({"expires_at": rfc3339(now + seconds)}, 201)

    def unsubscribe(self) -> Response:
        claims = self._auth.require(request, "feed")
        given = self._sent(PushEnd, claims)
        if given.endpoint is None:
            self._subscriptions.forget(claims.user)
        else:
            self._subscriptions.remove(given.endpoint, claims.user)
        return Response(status=204)

    def read(self) -> Response:
        """Mark a message as read. A service worker keeps no credential: the encrypted push brought it this proof."""
        given = self._sent(PushRead)
        user = check_user_id(given.user)
        if not self._key.proves(given.proof, user, given.id):
            self._auth.count_guess(request)
            raise BelfryError("bad_proof", "Expected `user`, `id` and `proof` of one push, got others.")
        self._auth.count_request(user)
        wish = Change(Mark.READ, True, (given.id,))
        if self._read_state.change(user, [user_log(user)], wish).changed:
            self._note(user, wish)
        return Response(status=204)

    @property
    def _key(self) -> VapidKey:
        """The deployment's key. Raises `BelfryError` `push_off` without one."""
        if self._own_key is None:
            raise BelfryError("push_off", "Expected BELFRY_PUSH_PRIVATE_KEY to be set; `belfry push-key` makes one.")
        return self._own_key

    def _sent(self, model: type[Body], claims: Claims | None = None) -> Body:
        """Return the request's body. Raises `BelfryError` `bad_subscription`, `push_off`, and like `json_body`."""
        _ = self._key
        text = json_body(request, BODY_MAX_BYTES, self._settings.body_seconds)
        if claims is not None:
            self._auth.check(claims)  # the body may have taken long to arrive
        try:
            return model.model_validate(strict_json.read(text))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            told = f"{where}: {faults.told(first)}." if where else f"{faults.told(first)}."
            raise BelfryError("bad_subscription", told) from None

    def _lifetime(self, given: PushSubscription) -> int:
        """Return for how many seconds the subscription is kept. Raises `BelfryError` `bad_subscription`."""
        longest = longest_seconds(self._settings)
        if given.expirationTime is None:
            return longest
        left = given.expirationTime / 1_000 - self._clock()  # Unix ms, see the Push API
        if left < 1:
            raise BelfryError("bad_subscription", "expirationTime: expected a time in the future, got one that passed.")
        return int(min(left, longest))


def _answer(told: dict[str, Any], status: int = 200) -> Response:
    return Response(compact(told) + "\n", status, mimetype="application/json", headers={"Cache-Control": "no-store"})
