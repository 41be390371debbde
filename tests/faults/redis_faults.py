"""What can happen to Redis, and to the link to it, while messages flow."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator
from functools import partial

from tests.faults.records import Outcome
from tests.faults.site import BACK_SECONDS, Fault, Site
from tests.faults.traffic import Traffic
from tests.servers import tcp_connections
from tests.waiting import wait_until

MESSAGES = 15  # between two blows
BLOWS = 8
SUBSCRIBER_BUFFER_BYTES = 8_192
LARGE_BYTES = 30_000  # more than that buffer and the 16 KiB that every client has besides; less than a message may have
FROZEN_SECONDS = 3.0  # longer than Belfry waits for an answer


def kill_connections(site: Site, traffic: Traffic, kind: str) -> None:
    """`CLIENT KILL TYPE`: `normal` cuts commands short, `pubsub` makes every log deaf for a moment."""
    with site.redis.client() as client:
        for _ in range(BLOWS):
            traffic.run(MESSAGES)
            wait_until(partial(client.client_kill_filter, _type=kind, skipme=True), what="a connection to kill")


def kill_connections_of_each_worker(site: Site, traffic: Traffic) -> None:
    """`CLIENT KILL ADDR` for all that one worker has; the others notice nothing."""
    killed = 0
    for pid in site.belfry.workers() * 2:
        traffic.run(MESSAGES)
        with site.redis.client() as client:
            ports = {port for port, _ in tcp_connections(pid)}
            own = [each["addr"] for each in client.client_list() if int(each["addr"].rpartition(":")[2]) in ports]
            killed += sum(int(client.client_kill_filter(addr=address)) for address in own)
    assert killed >= len(site.belfry.workers()), "each has a connection for commands or for the hub"


def freeze(site: Site, traffic: Traffic, seconds: float = FROZEN_SECONDS) -> None:
    """SIGSTOP: Redis answers nothing, and its sockets stay open."""
    traffic.run(MESSAGES)
    refused = traffic.book.answers["503"]
    until = time.monotonic() + seconds
    site.redis.signal(signal.SIGSTOP)
    try:
        traffic.wait(
            lambda: time.monotonic() > until and traffic.book.answers["503"] > refused,
            seconds + BACK_SECONDS,
            what="publishes to be refused",
        )
    finally:
        site.redis.signal(signal.SIGCONT)
    traffic.run(MESSAGES)


def kill_and_restart(site: Site, traffic: Traffic) -> None:
    """SIGKILL; it comes back with its append-only file."""
    traffic.run(MESSAGES)
    with _refusals(traffic, "503"):
        site.redis.kill()
    site.redis.start()
    traffic.run(MESSAGES)


def flush(site: Site, traffic: Traffic) -> None:
    """FLUSHALL: everybody's history is gone, and with it the ids that make a repetition harmless."""
    traffic.run(MESSAGES)
    with traffic.erasing(), site.redis.client() as client:
        client.flushall()
    traffic.run(MESSAGES)


def fill_memory(site: Site, traffic: Traffic) -> None:
    """`maxmemory` is reached and nothing may be evicted: publishing is refused, reading goes on."""
    traffic.run(MESSAGES)
    newcomer = traffic.reader(traffic.users[0], f"newcomer {time.monotonic()}")
    with site.redis.client() as client:
        client.config_set("maxmemory", "1")
        filled = time.monotonic()
        try:
            with _refusals(traffic, "507", 5):
                pass
            traffic.join([newcomer])
            with site.belfry.reader(traffic.users[0]) as api:
                assert api.feed()["messages"]
            sent_since = [each for each in traffic.book.publications if each.first_sent >= filled]
            assert not [each.mark for each in sent_since if each.outcome is Outcome.ACKNOWLEDGED]
        finally:
            client.config_set("maxmemory", "0")
    traffic.run(MESSAGES)


def overflow_subscriber(site: Site, traffic: Traffic) -> None:
    """Messages larger than `client-output-buffer-limit pubsub`: Redis drops the hub's connection for each."""
    with site.redis.client() as client:
        before = client.config_get("client-output-buffer-limit")["client-output-buffer-limit"]
        client.config_set("client-output-buffer-limit", f"pubsub {SUBSCRIBER_BUFFER_BYTES} 0 0")
        try:
            for _ in range(BLOWS):
                dropped = _dropped(site)
                traffic.publish(body="x" * LARGE_BYTES)
                traffic.wait(lambda at_least=dropped: _dropped(site) > at_least, what="Redis to drop the subscriber")
                traffic.run(MESSAGES)
        finally:
            client.config_set("client-output-buffer-limit", before)


def slow_link(site: Site, traffic: Traffic, seconds: float = 0.05) -> None:
    """Every packet takes so long, each way."""
    assert site.proxy is not None
    site.proxy.latency_seconds = seconds
    try:
        began = time.monotonic()
        traffic.publish()
        assert time.monotonic() - began >= 2 * seconds
        traffic.run(4 * MESSAGES)
    finally:
        site.proxy.latency_seconds = 0.0


def cut_link(site: Site, traffic: Traffic) -> None:
    """Every connection to Redis is reset, again and again."""
    assert site.proxy is not None
    for _ in range(BLOWS):
        traffic.run(MESSAGES)
        assert site.proxy.connections
        site.proxy.cut()


def silence_link(site: Site, traffic: Traffic, seconds: float = FROZEN_SECONDS) -> None:
    """Packets are held up for so long and arrive then: Redis carries out what Belfry has long given up."""
    assert site.proxy is not None
    traffic.run(MESSAGES)
    until = time.monotonic() + seconds
    with site.proxy.silent(), _refusals(traffic, "503"):
        traffic.wait(lambda: time.monotonic() > until, seconds + BACK_SECONDS)
    traffic.run(MESSAGES)


def part_from_redis(site: Site, traffic: Traffic) -> None:
    """No connection to Redis can be made for a while."""
    assert site.proxy is not None
    traffic.run(MESSAGES)
    with site.proxy.refusing(), _refusals(traffic, "503", 3):
        pass
    traffic.run(MESSAGES)


def lose_replies(site: Site, traffic: Traffic) -> None:
    """Redis did as it was told, and nobody hears of it: who repeats the message must not double it."""
    assert site.proxy is not None
    proxy = site.proxy
    traffic.run(MESSAGES)
    for having in (b"", b"appended") * (BLOWS // 2):  # some go to the hub or answer other commands
        proxy.lose_replies(4, having)
        traffic.wait(lambda: not proxy.replies_to_lose, what="replies to be lost")
        traffic.run(MESSAGES)


FAULTS: dict[str, Fault] = {
    "Redis kills normal connections": partial(kill_connections, kind="normal"),
    "Redis kills subscriber connections": partial(kill_connections, kind="pubsub"),
    "Redis kills one worker's connections": kill_connections_of_each_worker,
    "Redis is frozen": freeze,
    "Redis is killed and comes back": kill_and_restart,
    "Redis is flushed": flush,
    "Redis has no memory left": fill_memory,
    "Redis drops a subscriber that is behind": overflow_subscriber,
    "the link is slow": slow_link,
    "the link is cut": cut_link,
    "the link is silent": silence_link,
    "the link can't be made": part_from_redis,
    "the link loses replies": lose_replies,
}


@contextlib.contextmanager
def _refusals(traffic: Traffic, status: str, number: int = 1) -> Iterator[None]:
    """After what happens inside, wait until so many publishes were answered with this status."""
    before = traffic.book.answers[status]
    yield
    traffic.wait(
        lambda: traffic.book.answers[status] >= before + number, BACK_SECONDS, what=f"publishes answered {status}"
    )


def _dropped(site: Site) -> int:
    """How many clients Redis closed for their output buffer."""
    return site.redis.log().count("overcoming of output buffer limits")
