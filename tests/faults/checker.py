"""The promise, decided from records alone: exactly once, in order, or an explicit `reset`; nothing that was refused.

    verdict = check(records)
    assert verdict.kept, verdict          # prints every breach, with the subscriber and the message
    assert verdict.resets == 0            # where nothing was erased or trimmed, nobody may be told so

Pure: no I/O, no clock. What it holds against the records, for each subscriber and each log:

- an acknowledged message that was first sent after the subscriber's first `ready` came: `LOST` if nothing after it came
  either, `GAP` if something did. A `reset` excuses it, but only one that stands in its place (after all that must
  precede it, before all that must follow it), and then the feed must have it (`NOT_IN_FEED`), unless it was erased
  before that reset;
- a message came `DOUBLED`, or is twice in the feed. Erasing the store erases the ids that it remembers: then a reset
  must stand between the two;
- two messages came `INVERTED`: one was acknowledged before the other was sent, or their offsets say so;
- a message that was `REFUSED` came, or is in the feed;
- a `STRANGER` came: of another user, of a topic not asked for, or of nobody;
- a subscriber was `TURNED_AWAY` with a valid token and cursor, or never let in.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from tests.faults.records import Delivery, Erasure, Hearing, Outcome, Publication, Records, Reset

SHOWN = 20  # breaches that a verdict prints


class Kind(Enum):
    """How a promise can be broken."""

    LOST = "lost"
    GAP = "a silent gap"
    NOT_IN_FEED = "not in the feed after a reset"
    DOUBLED = "doubled"
    INVERTED = "inverted"
    REFUSED = "refused and yet there"
    STRANGER = "not for this subscriber"
    TURNED_AWAY = "turned away"


@dataclass(frozen=True, slots=True)
class Breach:
    """One broken promise. `subject` is the message's mark, or the answer that turned a subscriber away."""

    kind: Kind
    subscriber: str
    subject: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.subscriber}: {self.subject} {self.kind.value} {self.detail}".rstrip()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the records show. The counts tell a run that was put to the test from one in which nothing happened.

    `untold` are the subscribers that heard no `reset` at all: where everybody's history is gone, there may be none.
    """

    breaches: tuple[Breach, ...]
    acknowledged: int
    refused: int
    unknown: int
    subscribers: int
    deliveries: int
    resets: int
    untold: tuple[str, ...]

    @property
    def kept(self) -> bool:
        return not self.breaches

    @property
    def kinds(self) -> set[Kind]:
        return {breach.kind for breach in self.breaches}

    def __str__(self) -> str:
        head = f"BROKEN {len(self.breaches)} times" if self.breaches else "KEPT"
        head += f": {self.acknowledged} messages acknowledged, {self.refused} refused, {self.unknown} unknown; "
        head += f"{self.subscribers} subscribers, {self.deliveries} deliveries, {self.resets} resets"
        return "\n  ".join([head, *map(str, self.breaches[:SHOWN])])


def check(records: Records) -> Verdict:
    """Judge a run."""
    published = {publication.mark: publication for publication in records.publications}
    assert len(published) == len(records.publications), "a mark was given twice"
    breaches = [breach for hearing in records.hearings for breach in _judge(hearing, published, records.erasures)]
    outcomes = [publication.outcome for publication in records.publications]
    events = [event for hearing in records.hearings for event in hearing.events]
    return Verdict(
        breaches=tuple(breaches),
        acknowledged=outcomes.count(Outcome.ACKNOWLEDGED),
        refused=outcomes.count(Outcome.REFUSED),
        unknown=outcomes.count(Outcome.UNKNOWN),
        subscribers=len(records.hearings),
        deliveries=sum(isinstance(event, Delivery) for event in events),
        resets=sum(isinstance(event, Reset) for event in events),
        untold=tuple(hearing.subscriber for hearing in records.hearings if not _resets(hearing.events)),
    )


def missing(publications: Sequence[Publication], hearing: Hearing) -> Iterator[Publication]:
    """The acknowledged messages that `hearing` should have and has not, whether a reset excuses them or not."""
    heard = {event.mark for event in hearing.events if isinstance(event, Delivery)}
    for publication in publications:
        present = hearing.since <= publication.first_sent and publication.known <= hearing.until
        expected = publication.outcome is Outcome.ACKNOWLEDGED and present
        if expected and publication.mark not in heard and _log_of(publication, hearing):
            yield publication


def _judge(hearing: Hearing, published: Mapping[str, Publication], erasures: Sequence[Erasure]) -> Iterator[Breach]:
    for answer in hearing.turned_away:
        yield Breach(Kind.TURNED_AWAY, hearing.subscriber, answer)
    if hearing.since == math.inf:
        yield Breach(Kind.TURNED_AWAY, hearing.subscriber, "no `ready` ever came")
    yield from _judge_feed(hearing, published, erasures)
    yield from _judge_arrivals(hearing, published, erasures)
    for log in hearing.logs:
        places = _places(hearing, log, published)
        yield from _judge_order(hearing, log, places, erasures)
        of_log = [each for each in missing(tuple(published.values()), hearing) if log in each.logs]
        for publication in of_log:
            yield from _judge_missing(hearing, places, publication, erasures)


def _judge_feed(
    hearing: Hearing, published: Mapping[str, Publication], erasures: Sequence[Erasure]
) -> Iterator[Breach]:
    for mark, times in Counter(hearing.feed).items():
        publication = published.get(mark)
        if publication is None:  # of another run
            continue
        if not _log_of(publication, hearing):
            yield Breach(Kind.STRANGER, hearing.subscriber, mark, "(in the feed)")
        elif publication.outcome is Outcome.REFUSED:
            yield Breach(Kind.REFUSED, hearing.subscriber, mark, "(in the feed)")
        elif times > 1 and not _forgotten(publication, erasures):
            yield Breach(Kind.DOUBLED, hearing.subscriber, mark, "(in the feed)")


def _judge_arrivals(
    hearing: Hearing, published: Mapping[str, Publication], erasures: Sequence[Erasure]
) -> Iterator[Breach]:
    heard_in: dict[str, int] = {}  # mark → where its last arrival stands
    for at, event in enumerate(hearing.events):
        if isinstance(event, Reset):
            continue
        publication = published.get(event.mark)
        if publication is None or not _log_of(publication, hearing):
            yield Breach(Kind.STRANGER, hearing.subscriber, event.mark)
        elif publication.outcome is Outcome.REFUSED:
            yield Breach(Kind.REFUSED, hearing.subscriber, event.mark)
        elif event.mark in heard_in:
            between = _resets(hearing.events[heard_in[event.mark] : at])
            if not _forgotten(publication, erasures, between):
                yield Breach(Kind.DOUBLED, hearing.subscriber, event.mark)
        heard_in[event.mark] = at


def _judge_order(
    hearing: Hearing, log: str, places: Sequence[tuple[int, Publication]], erasures: Sequence[Erasure]
) -> Iterator[Breach]:
    """By the clock over everything, by offsets between two resets."""
    resets = [at for at, event in enumerate(hearing.events) if isinstance(event, Reset)]
    latest: Publication | None = None  # of all that came, the one that was sent last
    furthest, furthest_at = 0, -1
    seen: set[str] = set()
    for at, publication in places:
        if publication.mark in seen:  # doubled, which is said elsewhere
            continue
        seen.add(publication.mark)
        if latest is not None and publication.known < latest.first_sent:
            yield Breach(Kind.INVERTED, hearing.subscriber, publication.mark, f"came after {latest.mark}, sent later")
        if latest is None or publication.first_sent > latest.first_sent:
            latest = publication
        offset = publication.offsets.get(log, 0)
        if not offset or _forgotten(publication, erasures):
            continue
        if any(furthest_at < reset < at for reset in resets):
            furthest = 0
        if offset <= furthest:
            yield Breach(
                Kind.INVERTED, hearing.subscriber, publication.mark, f"({log} {offset}) came after offset {furthest}"
            )
        furthest, furthest_at = max(furthest, offset), at


def _judge_missing(
    hearing: Hearing, places: Sequence[tuple[int, Publication]], publication: Publication, erasures: Sequence[Erasure]
) -> Iterator[Breach]:
    """It belongs after all that was known before it was sent, and before all that was sent after it was known."""
    after = max((at for at, other in places if other.known < publication.first_sent), default=-1)
    before = min((at for at, other in places if other.first_sent > publication.known), default=len(hearing.events))
    if resets := _resets(hearing.events[after + 1 : before]):
        erased = any(
            publication.first_sent <= erasure.ended and any(reset.at >= erasure.began for reset in resets)
            for erasure in erasures
        )
        if not erased and publication.mark not in hearing.feed:
            yield Breach(Kind.NOT_IN_FEED, hearing.subscriber, publication.mark)
    elif before < len(hearing.events):
        yield Breach(Kind.GAP, hearing.subscriber, publication.mark, f"before event {before}")
    else:
        yield Breach(Kind.LOST, hearing.subscriber, publication.mark)


def _resets(events: Sequence[Delivery | Reset]) -> list[Reset]:
    return [event for event in events if isinstance(event, Reset)]


def _places(hearing: Hearing, log: str, published: Mapping[str, Publication]) -> list[tuple[int, Publication]]:
    """Where in the events a message of `log` came."""
    marks = ((at, event.mark) for at, event in enumerate(hearing.events) if isinstance(event, Delivery))
    return [(at, published[mark]) for at, mark in marks if mark in published and log in published[mark].logs]


def _log_of(publication: Publication, hearing: Hearing) -> bool:
    return any(log in hearing.logs for log in publication.logs)


def _forgotten(publication: Publication, erasures: Sequence[Erasure], resets: Sequence[Reset] | None = None) -> bool:
    """Whether the store was erased while this message was on its way: it may have been appended before and after.

    With `resets` one of them must have told of it.
    """
    return any(
        publication.first_sent <= erasure.ended
        and erasure.began <= publication.known
        and (resets is None or any(reset.at >= erasure.began for reset in resets))
        for erasure in erasures
    )
