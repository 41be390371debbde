"""The bell of a run rings once, whoever rings it."""

from __future__ import annotations

import json

from app import metrics
from app.core.settings import Settings
from app.store.logs.log import LogStore
from app.store.logs.publisher import Publisher
from app.store.logs.recipients import Recipients
from app.store.runs.run_announcer import RunAnnouncer
from app.store.runs.runs import Ending, RunName
from app.transport.connection import Connection


def test_workers_that_find_the_same_run_lost_send_and_count_one_message(
    connection: Connection, settings: Settings
) -> None:
    store = LogStore(connection, settings)
    name, ending = RunName("alice", "r1"), Ending("failed")
    metrics.TALLY.take()
    for _worker in range(2):
        RunAnnouncer(Publisher(store, Recipients(store, connection, settings)), lambda: 1.0).announce(name, ending)
    (tail,) = store.tails(["user:alice"])
    assert tail is not None
    assert tail.position.offset == 1
    assert metrics.TALLY.take() == {"messages": 1}


def test_a_run_that_answers_in_a_conversation_leads_there(connection: Connection, settings: Settings) -> None:
    store = LogStore(connection, settings)
    announcer = RunAnnouncer(Publisher(store, Recipients(store, connection, settings)), lambda: 1.0)
    announcer.announce(RunName("alice", "r1"), Ending("done"), "c1")
    (page,) = store.read_back([("user:alice", ())], 1)
    told = json.loads(page.entries[0].record.partition(b" ")[2])
    assert (told["url"], told["data"]) == ("/chat/c1", {"run": "r1", "conversation": "c1"})
