"""A log with many readers, step by step; `test_promise.py` lets everything meet. Two readers are many here."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial

import gevent
import pytest

from app.core.identity.tokens import Claims
from app.core.log.cursor import MAX_BYTES, Position, encode
from app.core.wire import frames
from app.core.wire.frames import Goodbye
from app.live.delivery.batch import Batch
from app.live.delivery.fan_out import FRAME_BYTES, WIDE
from app.live.delivery.hub import total_announced
from app.live.streams.subscriber import OpenLog, Subscriber
from tests.live.test_promise import PLENTY, Promise, settle

ALICE, EVERYONE = 0, 1  # the logs' numbers


@pytest.fixture
def worker() -> Iterator[Promise]:
    """Two clients of Alice are live."""
    promise = Promise()
    promise.two_clients_are_live()
    try:
        yield promise
    finally:
        promise.teardown()


def says(worker: Promise, count: int = 1, log: int = ALICE) -> None:
    worker.append(log, count)
    while worker.pipe:
        worker.live_entry_arrives(times=1)


def alice(worker: Promise) -> OpenLog:
    return worker.sinks[0].subscriber.logs[ALICE]


def offsets(worker: Promise, log: int = ALICE) -> list[int]:
    """How far each reader has come."""
    return [worker.sinks[who].subscriber.vector[log].offset for who in (0, 1)]


def test_the_first_message_after_a_pause_is_written_at_once_and_others_have_a_turn(worker: Promise) -> None:
    says(worker)
    assert offsets(worker) == [1, 0]
    worker.a_fan_out_goes_on()
    assert offsets(worker) == [1, 1]


def test_what_is_heard_during_a_rest_is_one_write_for_each_reader(worker: Promise) -> None:
    says(worker)
    worker.a_fan_out_goes_on()
    writes = [worker.sinks[who].writes for who in (0, 1)]
    says(worker, 3)
    assert offsets(worker) == [1, 1]
    worker.all_fan_outs_finish()
    assert offsets(worker) == [4, 4]
    assert [worker.sinks[who].writes for who in (0, 1)] == [before + 1 for before in writes]


def test_what_is_heard_within_a_fan_out_waits_for_its_end(worker: Promise) -> None:
    says(worker)
    says(worker, 2)
    worker.a_fan_out_goes_on()
    assert offsets(worker) == [1, 1]
    worker.all_fan_outs_finish()
    assert offsets(worker) == [3, 3]


def test_of_two_readers_in_one_place_each_gets_the_form_that_it_asked_for(worker: Promise) -> None:
    says(worker)
    worker.all_fan_outs_finish()
    first, second = (worker.sinks[who].subscriber for who in (0, 1))
    assert first.vector is second.vector
    second.unnamed = True
    written: dict[int, bytes] = {}
    for who in (0, 1):
        worker.sinks[who].write = partial(_keep, written, who)  # type: ignore[method-assign]  # records the frames
    worker.somebody_types(ALICE)
    worker.live_entry_arrives(times=1)
    worker.all_fan_outs_finish()
    assert (b"event: typing" in written[0], b"event:" in written[1]) == (True, False)


def _keep(written: dict[int, bytes], who: int, data: bytes) -> bool:
    written[who] = written.get(who, b"") + data
    return True


def test_a_log_rests_as_long_as_the_fan_out_took(worker: Promise) -> None:
    says(worker)
    worker.pace.time += 0.010
    worker.a_fan_out_goes_on()
    says(worker)
    wake_after(worker, 0.005)
    assert offsets(worker) == [1, 1]
    wake_after(worker, 0.009)
    assert offsets(worker) == [2, 1]


def test_a_rest_is_never_longer_than_told(worker: Promise) -> None:
    says(worker)
    worker.pace.time += 5
    worker.a_fan_out_goes_on()
    says(worker)
    wake_after(worker, worker.pace.rest_seconds)
    assert offsets(worker) == [2, 1]


def wake_after(worker: Promise, seconds: float) -> None:
    worker.pace.time += seconds
    assert worker.pace.resting is not None
    worker.pace.resting.set()
    settle()


def test_a_log_with_few_readers_never_waits(worker: Promise) -> None:
    worker.pace.wide = WIDE
    channel = worker.store.keys.live("user:alice").encode()
    for offset in (1, 2):
        worker.append(ALICE, 1)
        while worker.pipe:
            worker.hub.received(channel, worker.pipe.popleft()[1])
        assert offsets(worker) == [offset, offset]


def test_no_more_waits_than_may_and_then_the_rest_is_over(worker: Promise) -> None:
    says(worker)
    worker.a_fan_out_goes_on()
    says(worker, 10)
    assert offsets(worker) == [5, 1], "four fit, and the fifth did not wait for the rest's end"
    assert worker.received.qsize() == 1, "four more fit, and the link waits with the next"
    worker.pace.time += 5
    worker.a_fan_out_goes_on()
    assert offsets(worker) == [9, 5], "and no rest follows while it waits"
    worker.pace.time += 5
    worker.a_fan_out_goes_on()
    assert offsets(worker) == [9, 9], "but does when it no longer waits"
    says(worker, 1, EVERYONE)
    assert offsets(worker, EVERYONE) == [1, 0]
    assert offsets(worker) == [9, 9], "and no other log's message ends it"
    worker.all_fan_outs_finish()
    assert offsets(worker) == [11, 11]


def test_no_more_waits_in_all_than_may_and_then_no_log_rests(worker: Promise) -> None:
    says(worker)
    says(worker, 4)
    says(worker, 4, EVERYONE)
    assert worker.received.qsize() == 1, "six fit, and the link waits with the seventh"
    worker.a_fan_out_goes_on()
    assert offsets(worker) == [5, 1], "it does not rest"
    assert worker.received.empty()
    worker.all_fan_outs_finish()
    assert offsets(worker) == [5, 5]
    assert offsets(worker, EVERYONE) == [4, 4]


def test_a_message_larger_than_all_that_may_wait_waits_alone(worker: Promise) -> None:
    worker.pace.waiting_bytes = 1
    says(worker, 4)
    assert worker.received.qsize() == 1, "one is written, one waits, and the link waits with the third"
    worker.all_fan_outs_finish()
    assert offsets(worker) == [4, 4]


def test_a_frame_is_never_larger_than_it_counts_while_it_waits() -> None:
    widest = tuple(Position(f"abcde{n}", 99_999_999) for n in range(8))
    assert len(encode(widest)) == MAX_BYTES - 1
    for record in (b"message {}", b"typing {}"):
        assert len(frames.message(widest, record)) <= len(record) + FRAME_BYTES


def test_a_slow_reader_keeps_one_piece_and_finds_the_rest_in_the_store(worker: Promise) -> None:
    worker.sinks.pop(0).subscriber.close("gone")
    worker.client_connects(0, 250)  # for `ready`, and little more
    worker.all_reads_finish()
    slow = worker.sinks[0]
    assert all(sink.subscriber.live for sink in worker.sinks.values())
    for _ in range(12):
        says(worker, 4)
        worker.all_fan_outs_finish()
    assert slow.pending
    assert not slow.subscriber.live
    assert slow.most_kept <= worker.pace.joined_bytes
    slow.make_room(PLENTY)
    settle()
    worker.all_reads_finish()
    assert offsets(worker) == [48, 48]


def test_a_look_at_the_tails_leaves_those_alone_who_only_wait(worker: Promise) -> None:
    says(worker)
    says(worker, 2)
    compare(worker)
    assert all(sink.subscriber.live for sink in worker.sinks.values())
    assert worker.hub.catch_up.idle


def test_a_look_at_the_tails_finds_what_was_not_heard_behind_what_waits(worker: Promise) -> None:
    says(worker)
    says(worker, 2)
    worker.append(ALICE, 1)
    worker.live_entry_is_lost()
    compare(worker)
    assert not any(sink.subscriber.live for sink in worker.sinks.values())


def compare(worker: Promise) -> None:
    comparing = gevent.spawn(worker.hub._compare, [alice(worker)])
    settle()
    for _ in range(2):
        worker.a_read_goes_on()
    assert comparing.successful()


def test_what_was_not_heard_is_read_from_the_store_when_the_next_is_written(worker: Promise) -> None:
    worker.append(ALICE, 1)
    worker.live_entry_is_lost()
    says(worker)
    worker.all_fan_outs_finish()
    worker.all_reads_finish()
    assert offsets(worker) == [2, 2]


def test_who_comes_while_something_waits_gets_it_once(worker: Promise) -> None:
    says(worker)
    says(worker, 2)
    worker.client_connects(2, PLENTY)
    worker.all_reads_finish()
    assert worker.sinks[2].subscriber.vector[ALICE].offset == 3
    worker.all_fan_outs_finish()
    assert worker.sinks[2].writes == 1, "the history"
    assert offsets(worker) == [3, 3]


def test_who_goes_while_something_waits_comes_back_for_it(worker: Promise) -> None:
    says(worker)
    says(worker, 2)
    worker.sinks.pop(0).subscriber.close("gone")
    worker.all_fan_outs_finish()
    worker.client_connects(0, PLENTY)
    worker.all_reads_finish()
    assert offsets(worker) == [3, 3]


@pytest.mark.parametrize("end", [Goodbye.EXPIRED, Goodbye.REPLACED])
def test_who_is_told_goodbye_while_something_waits_comes_back_for_it(worker: Promise, end: Goodbye) -> None:
    says(worker)
    says(worker, 2)
    worker.sinks.pop(1).subscriber.say_goodbye(end, 1_000)
    assert worker.clients[1].place["user:alice"].offset == 0, "it was not yet written to"
    worker.all_fan_outs_finish()
    worker.client_connects(1, PLENTY)
    worker.all_reads_finish()
    assert offsets(worker) == [3, 3]


def test_a_worker_that_stops_while_something_waits_leaves_everyone_a_cursor_before_it(worker: Promise) -> None:
    says(worker)
    says(worker, 2)
    worker.streams.drain()
    worker.sinks.clear()
    assert [client.place["user:alice"].offset for client in worker.clients[:2]] == [1, 0]
    for who in (0, 1):
        worker.client_connects(who, PLENTY)
    worker.all_reads_finish()
    assert offsets(worker) == [3, 3]


def test_a_log_that_has_few_readers_again_first_gets_what_waits(worker: Promise) -> None:
    says(worker)
    worker.a_fan_out_goes_on()
    says(worker, 2)
    worker.sinks.pop(0).subscriber.close("gone")
    says(worker)
    assert worker.sinks[1].subscriber.vector[ALICE].offset == 1
    worker.a_rest_is_over()
    assert worker.sinks[1].subscriber.vector[ALICE].offset == 4
    worker.a_rest_is_over()
    says(worker)
    assert worker.sinks[1].subscriber.vector[ALICE].offset == 5, "nothing rests"
    worker.client_connects(0, PLENTY)


def test_a_change_of_the_feeds_state_is_told_after_the_messages_before_it_of_any_log(worker: Promise) -> None:
    says(worker, 2, EVERYONE)
    worker.feeds_state_changes()
    worker.live_entry_arrives(times=1)
    worker.all_reads_finish()
    before = worker.sinks[0].writes
    worker.all_fan_outs_finish()
    settle()
    assert worker.sinks[0].writes == before + 2, "the second message, and the change"


def test_a_change_is_told_when_all_were_written_to_and_after_what_was_heard_since_the_change_before(
    worker: Promise,
) -> None:
    for _ in range(2):
        says(worker)
        worker.feeds_state_changes()
        worker.live_entry_arrives(times=1)
        worker.all_reads_finish()
        before = [worker.sinks[who].writes for who in (0, 1)]
        settle()
        assert [worker.sinks[who].writes for who in (0, 1)] == before
    worker.a_fan_out_goes_on()
    worker.all_reads_finish()
    assert offsets(worker) == [1, 1]
    assert [worker.sinks[who].writes - before[who] for who in (0, 1)] == [1, 2], "the first change, and its message"
    worker.all_fan_outs_finish()
    worker.all_reads_finish()
    assert [worker.sinks[who].writes - before[who] for who in (0, 1)] == [3, 4]
    worker.each_offset_came_once_and_in_order()


def test_a_long_poll_hears_of_it_when_it_is_written(worker: Promise) -> None:
    poller = worker.sinks[0].subscriber
    logs, vector = poller.logs, poller.vector
    polling = gevent.spawn(worker.hub.wait_changed, logs, vector, total_announced(logs), 60)
    settle()
    says(worker)
    assert polling.ready()
    assert polling.value


def test_a_stream_that_fails_is_ended_and_costs_nobody_else_a_message(worker: Promise) -> None:
    failing = worker.sinks.pop(0)
    failing.broken = True
    says(worker)
    worker.a_fan_out_goes_on()
    assert worker.sinks[1].subscriber.vector[ALICE].offset == 1
    assert worker.streams.ended == {"error": 1}


def test_where_a_fan_out_fails_its_readers_catch_up(worker: Promise, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Batch, "plan", None)
        says(worker)
    worker.all_reads_finish()
    assert offsets(worker) == [1, 1]


def test_a_log_that_ends_ends_its_readers_when_they_have_everything(worker: Promise) -> None:
    run = OpenLog("run:1")
    start, token = Position("r", 0), b"message {}"
    readers = [Subscriber(Nobody(), claims(), (run,), (start,), Recorded()) for _ in range(2)]
    for reader in readers:
        reader.live = True
        run.add(reader)
    for offset, record in enumerate((token, token, frames.END), 1):
        worker.hub.fan_out.take(run, Position("r", offset), record)
    settle()
    worker.all_fan_outs_finish()
    assert [reader.closed for reader in readers] == [True, True]
    assert run.ended
    assert [reader.sink.data.count(b"id: ") for reader in readers if isinstance(reader.sink, Recorded)] == [3, 3]


class Recorded:
    """A sink that takes everything."""

    subscriber: Subscriber
    pending = False
    pending_bytes = 0

    def __init__(self) -> None:
        self.data = b""

    def write(self, data: bytes) -> bool:
        self.data += data
        return True

    def close(self) -> None: ...


class Nobody:
    """An owner who minds nothing."""

    tick = 0

    def _ignore(self, *_: object) -> None: ...

    blocked = progressed = drained = outdated = lost = located = dismissed = shared = closed = _ignore


def claims() -> Claims:
    return Claims("alice", frozenset(), (), None, math.inf, "")
