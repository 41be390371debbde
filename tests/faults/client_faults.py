"""What can happen to clients, to the network between them and Belfry, and to the proxy on the way."""

from __future__ import annotations

import os
import signal
import socket
import time
from contextlib import ExitStack, suppress
from functools import partial

from tests.faults.crowd import Reader
from tests.faults.network import Network
from tests.faults.site import BACK_SECONDS, Fault, Site
from tests.faults.traffic import Traffic
from tests.servers import HOST, Nginx
from tests.waiting import wait_until

MESSAGES = 15
BLOWS = 6
STORM = 2_000
JOIN_SECONDS = 60.0  # for so many, on a busy machine
HALF_OPEN = 300
VANISHED = 10
SMALL_BUFFER_BYTES = 32_768
LARGE_BYTES = 60_000
SLOW_BYTES_PER_SECOND = 500_000
SILENCE_SECONDS = 2.0  # four heartbeats: a client that heard nothing for so long comes back by itself


def reset_connections(site: Site, traffic: Traffic) -> None:
    """Every subscriber resets its connection (RST), or hangs up (FIN), in the middle of whatever comes."""
    del site
    for blow in range(BLOWS):
        traffic.run(MESSAGES)
        traffic.crowd.call(*[reader.reset if blow % 2 else reader.hang_up for reader in traffic.readers])
    traffic.wait_live()


def vanish(site: Site, traffic: Traffic) -> None:
    """The network swallows every packet of some subscribers: no FIN, no RST. Belfry lets go of them; they come back."""
    del site
    with Network() as network:
        readers = [
            traffic.reader(
                f"far-{time.monotonic()}-{number}",
                "far away",
                host=network.near,
                make_socket=network.socket,
                silence_seconds=SILENCE_SECONDS,
            )
            for number in range(VANISHED)
        ]
        try:
            traffic.join(readers)
            for _ in range(2):
                traffic.run(MESSAGES)
                network.cut()
                traffic.wait(lambda: not any(reader.is_live for reader in readers), what="them to notice the silence")
                traffic.wait(lambda: not traffic.online(readers), BACK_SECONDS, what="Belfry to let go of them")
                network.mend()
                traffic.wait_live(readers)
            traffic.dismiss(readers)
        finally:
            traffic.crowd.call(*[reader.stop for reader in readers])  # none may connect when the network is gone


def read_slowly(site: Site, traffic: Traffic) -> None:
    """Half of the subscribers read less than is sent, and catch up when less is."""
    del site
    slow = _slow_readers(traffic, "slow")
    for reader in slow:
        reader.rate = SLOW_BYTES_PER_SECOND
    traffic.join(slow)
    for _ in range(4 * BLOWS):
        traffic.publish(body="x" * LARGE_BYTES)
    traffic.run(MESSAGES)
    traffic.checkpoint()


def stop_reading(site: Site, traffic: Traffic) -> None:
    """Some subscribers stop reading for a while; what they miss waits in Redis, not in Belfry."""
    del site
    stopped = _slow_readers(traffic, "stopped")
    traffic.join(stopped)
    traffic.crowd.call(*[reader.pause for reader in stopped])
    for _ in range(4 * BLOWS):
        traffic.publish(body="x" * LARGE_BYTES)
    traffic.run(MESSAGES)
    traffic.crowd.call(*[reader.go_on for reader in stopped])
    traffic.checkpoint()


def open_halfway(site: Site, traffic: Traffic) -> None:
    """Connections that ask nothing, or half a question, and stay; and some that are left without a word."""
    traffic.run(MESSAGES)
    with ExitStack() as held:
        for number in range(HALF_OPEN):
            connection = held.enter_context(socket.create_connection((HOST, site.belfry.port)))
            connection.sendall(b"GET /stream HTTP/1.1\r\nHost: belf"[: number % 34])
        traffic.crowd.call(*[partial(_forsake, reader, held) for reader in traffic.readers])
        traffic.wait_live()
        traffic.run(MESSAGES)


def storm(site: Site, traffic: Traffic) -> None:
    """Thousands lose their connection in the same moment and come back at once."""
    del site
    many = [traffic.reader(f"many-{time.monotonic()}-{number}", "one of many") for number in range(STORM)]
    traffic.join(many, JOIN_SECONDS)
    traffic.run(MESSAGES)
    traffic.crowd.call(*[reader.reset for reader in many], *[reader.connect for reader in many])
    traffic.run(MESSAGES)
    traffic.wait_live(seconds=JOIN_SECONDS)
    traffic.dismiss(many)


def reload_nginx(site: Site, traffic: Traffic) -> None:
    """SIGHUP for the proxy that all of this traffic goes through; its old worker is then made to end."""
    assert site.nginx is not None
    for _ in range(2):
        traffic.run(MESSAGES)
        old = site.nginx.workers()
        site.nginx.signal(signal.SIGHUP)
        wait_until(partial(_has_others, site.nginx, old), BACK_SECONDS, what="nginx's new worker")
        traffic.run(MESSAGES)
        for pid in old:  # or it would serve its streams for as long as they last
            with suppress(ProcessLookupError):  # it ended by itself, because no stream of it was left
                os.kill(pid, signal.SIGTERM)
        wait_until(partial(_has_lost, site.nginx, old), BACK_SECONDS, what="the old one to end")
        traffic.wait_live()


FAULTS: dict[str, Fault] = {
    "clients reset their connections": reset_connections,
    "clients vanish": vanish,
    "clients read slowly": read_slowly,
    "clients stop reading": stop_reading,
    "connections are half open": open_halfway,
    "thousands come back at once": storm,
    "nginx is reloaded": reload_nginx,
}


def _slow_readers(traffic: Traffic, name: str) -> list[Reader]:
    """One per user, with little room in the kernel for what it does not read."""
    return [
        traffic.reader(user, f"{name} {time.monotonic()}", [traffic.topic], receive_buffer=SMALL_BUFFER_BYTES)
        for user in traffic.users
    ]


def _has_others(nginx: Nginx, than: list[int]) -> bool:
    return bool(set(nginx.workers()) - set(than))


def _has_lost(nginx: Nginx, these: list[int]) -> bool:
    return not set(nginx.workers()) & set(these)


def _forsake(reader: Reader, held: ExitStack) -> None:
    left = reader.forsake()
    if left is not None:
        held.enter_context(left)
