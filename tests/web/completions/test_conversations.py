"""What `POST /conversations` answers when the run of a question has failed already."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from flask import Flask

from app.core.completion import parse_question
from app.core.settings import Settings
from app.web.completions.conversations import ConversationViews

QUESTION = parse_question(b'{"model":"m","content":"Hi","id":"q1"}', "")
CLAIMS: Any = SimpleNamespace(user="alice")


def views(*, is_producing: bool) -> ConversationViews:
    """Views of a conversation whose question was kept, and whose run is under way here or has failed."""
    asked = SimpleNamespace(turns=(), replaced=(), revision=None)
    conversations: Any = SimpleNamespace(place=lambda *_: asked, tell=lambda *_: None)
    runs: Any = SimpleNamespace(delete_all=lambda *_: None, get=lambda _: SimpleNamespace(status="failed"))
    relay: Any = SimpleNamespace(begin=lambda *_: True, is_producing=lambda _: is_producing)
    auth: Any = SimpleNamespace()
    return ConversationViews(auth, conversations, runs, relay, Settings())


@pytest.mark.parametrize(("is_producing", "status"), [(True, "running"), (False, "failed")])
def test_the_status_is_that_of_the_run(is_producing: bool, status: str) -> None:
    with Flask("test").test_request_context():
        answer, code = views(is_producing=is_producing)._asked(CLAIMS, QUESTION, "q1", None)
        assert (code, answer.get_json()["status"], answer.get_json()["revision"]) == (201, status, 1)
