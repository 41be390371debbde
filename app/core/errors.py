"""Every error of Belfry: one catalogue of code, status and title.

A `BelfryError` can be raised anywhere. The web layer turns it into one `application/problem+json` answer (RFC 9457).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# code → (HTTP status, title). A code is part of the HTTP contract. Clients depend on it, so it never changes its
# meaning.
CATALOGUE: Mapping[str, tuple[int, str]] = {
    # any request
    "malformed_json": (400, "The body is not valid JSON"),
    "bad_request": (400, "The request can't be understood"),
    "unsupported_media_type": (415, "The content type is not supported here"),
    "body_too_large": (413, "The body is too large"),
    "body_broken": (400, "The body is framed wrongly, or its end never came"),
    "body_late": (408, "The body did not come in time"),
    "line_too_large": (413, "A line of the batch is too large"),
    "uri_too_long": (414, "The address is too long"),
    "head_too_large": (431, "The headers are too many or too long"),
    "wrong_host": (421, "The server does not answer for this host"),
    "not_found": (404, "There is nothing here"),
    "method_not_allowed": (405, "The method is not allowed here"),
    "not_acceptable": (406, "The answer's form is not acceptable to the client"),
    # a message
    "invalid_message": (422, "The message is not valid"),
    "unknown_field": (422, "The message has a field that Belfry doesn't know"),
    "missing_target": (422, "The message names no recipient"),
    "ambiguous_target": (422, "The message names more than one kind of recipient"),
    "empty_recipients": (422, "The list of recipients is empty"),
    "too_many_recipients": (422, "The list of recipients is too long"),
    "bad_user_id": (422, "A user id is not valid"),
    "bad_topic": (422, "A topic is not valid"),
    "bad_message_id": (422, "The message id is not valid"),
    "ambiguous_id": (400, "The message id and the Idempotency-Key differ"),
    "bad_event": (422, "The event type is not valid"),
    "reserved_event": (422, "The event type is Belfry's or EventSource's own"),
    "bad_ttl": (422, "The ttl is not valid"),
    "bad_url": (422, "The url is not valid"),
    "bad_deliver_at": (422, "The time of delivery is not valid"),
    "bad_push": (422, "The message can't be pushed"),
    "id_reused": (409, "The message id was used before with other content"),
    "too_many_scheduled": (429, "Too many messages are scheduled"),
    "delivery_under_way": (409, "The message is being delivered"),
    # a stream or a feed
    "invalid_change": (422, "The change of the feed is not valid"),
    "bad_cursor": (400, "The cursor is malformed"),
    "history_lost": (410, "The history after this cursor is gone"),
    "too_many_topics": (400, "The connection asks for too many topics"),
    "bad_parameter": (400, "A parameter is not valid"),
    # a device for Web Push
    "push_off": (404, "Web Push is not set up here"),
    "bad_subscription": (422, "The push subscription is not valid"),
    "bad_proof": (403, "The proof does not belong to this push"),
    # a completion
    "invalid_completion": (400, "The request for a completion is not valid"),
    "bad_run_id": (422, "The id of the run is not valid"),
    "run_gone": (410, "The run has expired"),
    # a conversation
    "invalid_conversation": (422, "The change of the conversation is not valid"),
    "conversation_changed": (409, "The conversation is another one than the client knows"),
    "conversation_full": (409, "The conversation has no room for more"),
    "answer_under_way": (409, "The answer before it is not complete yet"),
    "model_unknown": (404, "No upstream serves this model"),
    "too_many_runs": (429, "Too many completions are under way"),
    "tokens_used_up": (429, "The day's tokens are used up"),
    "upstream_refused": (400, "The upstream refused the request"),
    "upstream_rate_limited": (429, "The upstream takes no more requests for now"),
    "upstream_failed": (502, "The upstream failed"),
    "upstream_unreachable": (502, "The upstream can't be reached"),
    "upstream_malformed": (502, "The upstream's answer can't be understood"),
    "upstream_truncated": (502, "The upstream's answer ended too soon"),
    "upstream_timeout": (504, "The upstream did not answer in time"),
    "answer_too_large": (502, "The upstream's answer is too large to be kept"),
    "answer_lost": (502, "Part of the answer was lost with the store's server"),
    "producer_lost": (502, "The worker that produced the answer is gone"),
    # identity
    "token_missing": (401, "No credential was sent"),
    "token_invalid": (401, "The token is not valid"),
    "token_expired": (401, "The token has expired"),
    "token_revoked": (401, "The credential was withdrawn"),
    "sign_in_refused": (401, "The name or the password is wrong"),
    "insecure_sign_in": (422, "The sign-in needs https"),
    "ticket_invalid": (401, "The ticket is unknown, used or too old"),
    "scope_missing": (403, "The token's scope does not allow this"),
    "topic_forbidden": (403, "The token does not grant this topic"),
    "target_forbidden": (403, "The token may not address this recipient"),
    "cross_site": (403, "A cross-site request can't use the session cookie"),
    # the server's state
    "rate_limited": (429, "Too many requests"),
    "store_unavailable": (503, "The message store is not reachable"),
    "not_replicated": (503, "The message is on too few replicas yet"),
    "store_full": (507, "The message store has no room"),
    "keys_unavailable": (503, "The issuer's keys are not reachable"),
    "overloaded": (503, "More work waits for the message store than it can do"),
    "too_many_connections": (503, "This server holds as many connections as it may"),
    "shutting_down": (503, "This server is shutting down"),
    "internal_error": (500, "Something went wrong on the server"),
}


class BelfryError(Exception):
    """One refusal.

    `code` is a key of `CATALOGUE`. `detail` is one sentence for a person: what was expected and what came. `headers`
    are added to the answer (`Retry-After`, `WWW-Authenticate`, `Allow`). `extra` has further members of the problem.
    """

    def __init__(self, code: str, detail: str = "", *, headers: Mapping[str, str] | None = None, **extra: Any) -> None:
        self.code = code
        self.status, self.title = CATALOGUE[code]
        self.detail = detail or self.title
        self.headers = dict(headers or {})
        self.extra = extra
        super().__init__(f"{code}: {self.detail}")

    def problem(self) -> dict[str, Any]:
        """Return the RFC 9457 object. `type` is a stable URN with the code, which can't be fetched."""
        return {
            "type": f"urn:belfry:error:{self.code}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
            **self.extra,
        }
