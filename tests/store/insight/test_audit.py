"""The audit log keeps the newest entries."""

from __future__ import annotations

from app.core.settings import Settings
from app.store.insight.audit import Audit, AuditEntry
from app.transport.connection import Connection


def test_entries_come_back_newest_first(connection: Connection, settings: Settings) -> None:
    audit = Audit(connection, settings)
    entries = [AuditEntry("2026-01-01T00:00:00.000Z", "root", "publish", f"user:ü{number}") for number in range(3)]
    audit.append(entries)
    assert audit.newest(10) == entries[::-1]
    assert audit.newest(1) == entries[:1:-1]


def test_the_log_has_a_bounded_length(connection: Connection, settings: Settings) -> None:
    audit = Audit(connection, settings.model_copy(update={"audit_length": 100}))
    audit.append([AuditEntry("", "root", "publish", str(number)) for number in range(1_000)])
    assert 100 <= len(audit.newest(1_000)) < 300  # Redis trims whole nodes of its tree
    assert audit.newest(1)[0].target == "999"


def test_refused_sign_ins_displace_nothing_else(connection: Connection, settings: Settings) -> None:
    audit = Audit(connection, settings.model_copy(update={"audit_length": 100}))
    done = [AuditEntry("", "root", "revoke", f"user:{number}") for number in range(100)]
    audit.append(done)
    for number in range(230):
        audit.refuse(AuditEntry("", f"guess-{number}", "sign_in_refused"))
    assert len([entry for entry in audit.newest(100) if entry.action == "revoke"]) == 75
    assert [entry for entry in audit.newest(1_000) if entry.action == "revoke"] == done[::-1]


def test_refused_sign_ins_of_one_name_and_address_are_one_entry(connection: Connection, settings: Settings) -> None:
    audit = Audit(connection, settings)
    audit.append([AuditEntry("1", "root", "sign_in")])
    for number in range(2, 9):
        audit.refuse(AuditEntry(str(number), "root", "sign_in_refused", address=f"198.51.100.{number % 2}"))
    audit.append([AuditEntry("9", "root", "revoke")])
    assert audit.newest(10) == [
        AuditEntry("9", "root", "revoke"),
        AuditEntry("8", "root", "sign_in_refused", address="198.51.100.0", count=4),
        AuditEntry("7", "root", "sign_in_refused", address="198.51.100.1", count=3),
        AuditEntry("1", "root", "sign_in"),
    ]
    assert [entry.action for entry in audit.newest(2)] == ["revoke", "sign_in"]
