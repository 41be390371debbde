"""Writes the actions of people in a page to the audit log, before they are carried out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from flask import Request, request

from ...core.identity.tokens import Claims
from ...core.message import Message
from ...core.wire.times import rfc3339
from ...store.insight.audit import Audit, AuditEntry
from ...store.logs.publisher import Posted, Published, Publishes
from .auth import Authenticator
from .client_address import client_address


def note(
    auth: Authenticator, claims: Claims, action: str, target: str, message_id: str = "", asked: Request = request
) -> AuditEntry:
    """Return an entry about the request `asked`. By default, this is the request that Flask is answering."""
    return entry(auth, claims.user, action, target, message_id, asked)


def entry(
    auth: Authenticator, user: str, action: str, target: str = "", message_id: str = "", asked: Request = request
) -> AuditEntry:
    """Return an entry like `note`, for a user who has no claims yet."""
    address = client_address(asked, auth.settings.proxies)
    return AuditEntry(rfc3339(auth.clock()), user, action, target, message_id, address)


class PagePublisher:
    """A publisher for a user with a session, who is a person using a page."""

    def __init__(self, publisher: Publishes, audit: Audit, auth: Authenticator, claims: Claims, asked: Request) -> None:
        self._publisher = publisher
        self._audit = audit
        self._noted = note(auth, claims, "publish", "", asked=asked)

    def publish(self, messages: Sequence[Message]) -> list[Published]:
        """Write the sender and the recipients to the audit log, then publish."""
        self._note(messages)
        return self._publisher.publish(messages)

    def post(self, messages: Sequence[Message]) -> Posted:
        self._note(messages)
        return self._publisher.post(messages)

    def _note(self, messages: Sequence[Message]) -> None:
        noted = [(name, message.id) for message in messages for name in message.logs]
        self._audit.append([replace(self._noted, target=name, message_id=id_) for name, id_ in noted])
