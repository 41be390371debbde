"""`./run soak --minutes 60`: the faults of the suite, in random order, for as long as wanted.

A round is new users, new traffic and a handful of faults one after the other, on a deployment that lives as long as it
is well; then the records of the round are judged. Where nothing was erased, nobody may be told of a loss either: no
other fault brings a `reset`. Prints what happens when and what is left out, and ends with 1 if a promise was broken.
The same `--seed` gives the same faults in the same order; what they hit differs from run to run.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import secrets
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

from tests.faults import client_faults, redis_faults, worker_faults
from tests.faults.clock import Clock
from tests.faults.network import Network
from tests.faults.site import Fault, Site, site
from tests.faults.traffic import Traffic
from tests.servers import Nginx

FAULTS_PER_ROUND = 6
STARTS = 3  # of a deployment, until the run is given up
SETTLE_SECONDS = 60.0  # a soak may run beside other work
PAUSE_SECONDS = 0.03  # of each publisher, between two messages
TABS_BEHIND_NGINX = 3

LONG: Mapping[str, Fault] = {
    "Redis is frozen for 10 s": partial(redis_faults.freeze, seconds=10.0),
    "Redis is frozen for 30 s": partial(redis_faults.freeze, seconds=30.0),
    "the link is silent for 10 s": partial(redis_faults.silence_link, seconds=10.0),
}
# Of the suite's faults, what happens to no deployment here, and why.
LEFT_OUT: Mapping[str, str] = {
    "Redis kills one worker's connections": "the proxy makes all connections to Redis its own: none can be told apart",
    "a failover": "needs replicas and a Sentinel of its own",
    "a full disk": "needs the embedded server on a small disk",
    "more than the server can do": "would measure whatever else runs beside",
}


@dataclass(slots=True)
class Soak:
    """One run. `broken` are the rounds in which something was wrong."""

    faults: Mapping[str, Fault]
    dice: random.Random
    ends: float
    struck: int = 0
    rounds: int = 0
    broken: int = 0

    def run(self) -> None:
        """Round after round; after one that broke something, with a new deployment."""
        while time.monotonic() < self.ends:
            with ExitStack() as started:
                deployment = self._start(started)
                while time.monotonic() < self.ends and self._round(deployment):
                    pass

    def _start(self, started: ExitStack) -> Site:
        """A new deployment. Where none can be started several times in a row, there is nothing to try on."""
        for _ in range(STARTS - 1):
            try:
                return started.enter_context(_deployment())
            except Exception:  # noqa: BLE001 - the run goes on, and ends with 1
                traceback.print_exc(file=sys.stdout)
                self.broken += 1
        return started.enter_context(_deployment())

    def _round(self, deployment: Site) -> bool:
        """Whether all was well."""
        self.rounds += 1
        well = False
        try:
            well = self._kept(deployment)
        except Exception:  # noqa: BLE001 - the run goes on, and ends with 1
            traceback.print_exc(file=sys.stdout)
        if not well:
            self.broken += 1
            for name, server in deployment.servers.items():
                print(f"--- log of {name}\n{server.log()[-4_000:]}", flush=True)
        return well

    def _kept(self, deployment: Site) -> bool:
        with Traffic(deployment.belfry, pause_seconds=PAUSE_SECONDS) as traffic:
            if deployment.nginx:
                behind = [
                    traffic.reader(user, f"behind nginx {tab}", [traffic.topic], port=deployment.nginx.port)
                    for user in traffic.users
                    for tab in range(TABS_BEHIND_NGINX)
                ]
                traffic.join(behind)
            for name in self.dice.sample(sorted(self.faults), min(FAULTS_PER_ROUND, len(self.faults))):
                if time.monotonic() < self.ends:
                    self._strike(name, deployment, traffic)
            verdict = traffic.finish(SETTLE_SECONDS)
        unfounded = 0 if traffic.book.erasures else verdict.resets
        told = f"; {unfounded} resets, and nothing was erased" if unfounded else ""
        print(f"{_now()}  round {self.rounds}: {verdict}{told}", flush=True)
        return verdict.kept and not unfounded

    def _strike(self, name: str, deployment: Site, traffic: Traffic) -> None:
        print(f"{_now()}  {name}", flush=True)
        self.struck += 1
        self.faults[name](deployment, traffic)
        traffic.wait_live(seconds=SETTLE_SECONDS)
        traffic.checkpoint(SETTLE_SECONDS)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="./run soak", description="Faults in random order, for long.")
    parser.add_argument("--minutes", type=float, default=60.0, help="how long, 60 by default")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1_000_000), help="which order, any by default")
    parser.add_argument("--only", default="", help="only faults whose name contains this")
    given = parser.parse_args(arguments)
    faults = {name: fault for name, fault in _faults().items() if given.only in name}
    print(f"{_now()}  {given.minutes:g} minutes, seed {given.seed}, {len(faults)} faults", flush=True)
    soak = Soak(faults, random.Random(given.seed), time.monotonic() + 60 * given.minutes)
    soak.run()
    told = f"{soak.struck} faults in {soak.rounds} rounds"
    print(f"{_now()}  {f'BROKEN in {soak.broken} of them' if soak.broken else 'KEPT'}: {told}, seed {given.seed}")
    return 1 if soak.broken or not soak.struck else 0


def _faults() -> dict[str, Fault]:
    """All that this machine can do; what it can't is said."""
    faults = {**redis_faults.FAULTS, **worker_faults.FAULTS, **client_faults.FAULTS, **LONG}
    missing = {
        "clients vanish": Network.obstacle(),
        "the clock steps back": "" if Clock.library() else "faketime",
        "nginx is reloaded": "" if Nginx.binary() else "nginx",
    }
    for name, obstacle in missing.items():
        if obstacle:
            print(f"without {name!r}: needs {obstacle}")
    for name, why in LEFT_OUT.items():
        print(f"without {name!r}: {why}")
    return {name: fault for name, fault in faults.items() if not missing.get(name) and name not in LEFT_OUT}


def _deployment() -> contextlib.AbstractContextManager[Site]:
    return site(
        workers=2,
        proxied=True,
        behind_nginx=Nginx.binary() is not None,
        clocked=Clock.library() is not None,
        BELFRY_WRITE_TIMEOUT_SECONDS="2",
    )


def _now() -> str:
    return time.strftime("%H:%M:%S")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
