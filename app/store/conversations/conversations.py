"""Conversations: the questions of a user, turn by turn, and the answers of a model.

A conversation is a hash: title, created and used (Unix ms), model, count (of its turns), revision (it grows with each
question), running (the id of the run that is answering now), and for each turn, counted from 0:

    turn:<n>     `<run id> <JSON>`, with content, model and asked (Unix ms)
    answer:<n>   JSON with status, text and the other parts of the answer; missing while the run is under way

`turn_write.lua` writes a question in the same step that starts its run. So a question never exists without its run, nor
a run without its question. The worker writes the answer after the run has ended and before it removes the run's lease.
If the worker dies in between, the lease stays, and another worker writes the answer (`Runs.end`). An answer is written
once.
"""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...core.completion import LAST, Question
from ...core.errors import BelfryError
from ...core.settings import Settings
from ...core.wire.frames import CONVERSATION, compact
from ...transport.connection import Commands, Reply, Script
from ..keys import Keys, user_log

ANSWER = Script("turn_answer")
RENAME = Script("conversation_rename")
SCRIPTS = (ANSWER, RENAME)

NEWS_ID_BYTES = 6

Answer = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Turn:
    """One question with its answer. `answer` is None while the run is under way. `id` is the run's id.

    Times are Unix ms.
    """

    id: str
    content: Any
    model: str
    asked: int
    answer: Answer | None
    size: int


@dataclass(frozen=True, slots=True)
class Summary:
    """The fields of a conversation that a list of conversations shows. Times are Unix ms."""

    id: str
    title: str
    model: str
    created: int
    used: int
    revision: int
    count: int
    running: str


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation with all its turns."""

    summary: Summary
    turns: tuple[Turn, ...]

    @property
    def id(self) -> str:
        return self.summary.id


@dataclass(frozen=True, slots=True)
class Asked:
    """A question and its place in a conversation.

    `turns` are the turns before the question, and `replaced` are the turns that it replaces. `revision` is the revision
    of the conversation when it was read. It is empty if there was no conversation.
    """

    user: str
    conversation: str
    question: Question
    turns: tuple[Turn, ...]
    replaced: tuple[Turn, ...]
    revision: str


class Conversations:
    """Reads and changes all conversations of one deployment. Raises `BelfryError` `store_unavailable`."""

    def __init__(self, commands: Commands, settings: Settings, clock: Callable[[], float]) -> None:
        self._commands = commands
        self._settings = settings
        self._clock = clock
        self._keys = Keys(settings.redis_prefix, settings.redis_db)

    # Questions

    def place(self, user: str, conversation: Conversation | None, name: str, question: Question) -> Asked:
        """Find the place of a question in the conversation `name`. A question that was asked before keeps its place.

        Raises `BelfryError` `not_found`, `conversation_changed`, `conversation_full` or `answer_under_way`.
        """
        if conversation is None:
            return self._checked(Asked(user, name, question, (), (), ""))
        turns, known = conversation.turns, conversation.summary.revision
        ids = [turn.id for turn in turns]
        # The client sends the question again because it lost the answer. `Runs.start` finds the run.
        if question.id in ids:
            at = ids.index(question.id)
        else:
            if question.revision not in (None, known):
                told = f"Expected revision {known}, got {question.revision}. Fetch the conversation, and ask again."
                raise BelfryError("conversation_changed", told)
            at = _place_after(question.after, ids)
        return self._checked(Asked(user, name, question, turns[:at], turns[at:], str(known)))

    def keys_of(self, asked: Asked) -> tuple[str, str]:
        """Return the keys that `turn_write.lua` takes."""
        return self._keys.conversation(asked.user, asked.conversation), self._keys.conversations(asked.user)

    def arguments_of(self, asked: Asked, run_id: str) -> tuple[str | int, ...]:
        """Return the arguments that `turn_check.lua` and `turn_write.lua` take."""
        question, settings = asked.question, self._settings
        return (
            asked.revision,
            len(asked.turns),
            f"{run_id} {self._turn(question)}",
            asked.conversation,
            question.title,
            question.model,
            settings.conversation_seconds,
            settings.max_conversations,
        )

    def answer(self, user: str, turn: str, run_id: str, answer: Answer) -> None:
        """Write an answer, unless one is already there. `turn` is `<place> <conversation>`."""
        place, _, conversation = turn.partition(" ")
        _, channel, record = self._news(user, conversation)
        keys = self._keys.conversation(user, conversation), channel
        self._commands.run([ANSWER.call(keys, place, run_id, compact(answer), record)])

    # Reading and changing

    def get(self, user: str, name: str) -> Conversation:
        """Return a conversation. Raises `BelfryError` `not_found`."""
        found = self.find(user, name)
        if found is None:
            raise BelfryError("not_found", f"There is no conversation {name!r}.")
        return found

    def find(self, user: str, name: str) -> Conversation | None:
        (reply,) = self._commands.run([("HGETALL", self._keys.conversation(user, name))])
        # redis-py turns the reply to HGETALL into a dict. hiredis returns a list.
        fields = reply if isinstance(reply, dict) else dict(zip(reply[::2], reply[1::2], strict=True))
        return _conversation(name, fields) if fields else None

    def newest(self, user: str, limit: int) -> list[Summary]:
        """Return the user's conversations. The most recently used one comes first."""
        (names,) = self._commands.run([("ZREVRANGE", self._keys.conversations(user), 0, limit - 1)])
        ids = [name.decode() for name in names]
        replies = self._commands.run([("HMGET", self._keys.conversation(user, name), *_SUMMARY) for name in ids])
        return [
            _summary(name, dict(zip(_SUMMARY, reply, strict=True)))
            for name, reply in zip(ids, replies, strict=True)
            if reply[0] is not None
        ]

    def rename(self, user: str, name: str, title: str) -> None:
        """Give a conversation another title. Raises `BelfryError` `not_found`."""
        key = self._keys.conversation(user, name)
        (known,) = self._commands.run([RENAME.call((key,), title)])
        if not known:
            raise BelfryError("not_found", f"There is no conversation {name!r}.")
        self.tell(user, name)

    def delete(self, user: str, name: str) -> None:
        """Forget a conversation. The caller must forget its runs afterwards."""
        forgotten = ("ZREM", self._keys.conversations(user), name), ("DEL", self._keys.conversation(user, name))
        self._commands.run([*forgotten, self._news(user, name, removed=True)])

    def forget(self, user: str) -> None:
        """Forget every conversation of a user."""
        index = self._keys.conversations(user)
        (names,) = self._commands.run([("ZRANGE", index, 0, -1)])
        if names:
            self._commands.run([("DEL", index, *[self._keys.conversation(user, name.decode()) for name in names])])

    def tell(self, user: str, name: str) -> None:
        """Tell the user's open pages that a conversation changed.

        Pages also check for changes when they become visible.
        """
        with contextlib.suppress(BelfryError):
            self._commands.run([self._news(user, name)])

    def _news(self, user: str, name: str, *, removed: bool = False) -> tuple[str, str, str]:
        told = {"id": secrets.token_hex(NEWS_ID_BYTES), "conversation": name, "removed": removed}
        record = f"0.0 {CONVERSATION.decode()} {compact(told)}"
        return "PUBLISH", self._keys.live(user_log(user)), record

    def _turn(self, question: Question) -> str:
        now_ms = int(self._clock() * 1_000)
        return compact({"content": question.content, "model": question.model, "asked": now_ms})

    def _checked(self, asked: Asked) -> Asked:
        settings, turns = self._settings, asked.turns
        if any(turn.answer is None for turn in turns):
            told = "The answer to the question before this one is not complete. Wait for it, or stop it."
            raise BelfryError("answer_under_way", told)
        if len(turns) >= settings.conversation_turns:
            told = f"A conversation has at most {settings.conversation_turns} questions. Start a new one."
            raise BelfryError("conversation_full", told)
        size = sum(turn.size for turn in turns) + len(self._turn(asked.question).encode())
        if size > settings.conversation_bytes:
            told = f"Expected at most {settings.conversation_bytes} bytes with this question, got {size}."
            raise BelfryError("conversation_full", f"{told} Start a new conversation, or leave an image out.")
        return asked


_SUMMARY = (b"title", b"model", b"created", b"used", b"revision", b"count", b"running")


def _place_after(after: object, ids: Sequence[str]) -> int:
    """Return the place of a question that follows the turn `after`. Raises `BelfryError` `conversation_changed`."""
    if after is LAST:
        return len(ids)
    if after is None:
        return 0
    if after not in ids:
        told = f"after: the conversation has no turn {after!a}. Fetch the conversation, and ask again."
        raise BelfryError("conversation_changed", told)
    return ids.index(str(after)) + 1


def _summary(name: str, fields: Mapping[bytes, Reply]) -> Summary:
    return Summary(
        id=name,
        title=fields[b"title"].decode(),
        model=fields[b"model"].decode(),
        created=int(fields[b"created"]),
        used=int(fields[b"used"]),
        revision=int(fields[b"revision"]),
        count=int(fields[b"count"]),
        running=(fields.get(b"running") or b"").decode(),
    )


def _conversation(name: str, fields: Mapping[bytes, bytes]) -> Conversation:
    summary = _summary(name, fields)
    turns = [_read(fields[b"turn:%d" % at], fields.get(b"answer:%d" % at)) for at in range(summary.count)]
    return Conversation(summary, tuple(turns))


def _read(turn: bytes, answer: bytes | None) -> Turn:
    run_id, _, said = turn.partition(b" ")
    told = json.loads(said)
    size = len(turn) + len(answer or b"")
    return Turn(
        run_id.decode(), told["content"], told["model"], told["asked"], json.loads(answer) if answer else None, size
    )
