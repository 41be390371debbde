"""The audit log keeps the newest entries."""

from __future__ import annotations

from app.core.settings import Settings
from app.store.audit import Audit, Entry
from app.store.connection import Connection


def test_entries_come_back_newest_first(connection: Connection, settings: Settings) -> None:
    audit = Audit(connection, settings)
    entries = [Entry("2026-01-01T00:00:00.000Z", "root", "publish", f"user:ü{number}") for number in range(3)]
    audit.append(entries)
    assert audit.newest(10) == entries[::-1]
    assert audit.newest(1) == entries[:1:-1]


def test_the_log_has_a_bounded_length(connection: Connection, settings: Settings) -> None:
    audit = Audit(connection, settings.model_copy(update={"audit_length": 100}))
    audit.append([Entry("", "root", "publish", str(number)) for number in range(1_000)])
    assert 100 <= len(audit.newest(1_000)) < 300  # Redis trims whole nodes of its tree
    assert audit.newest(1)[0].target == "999"
