"""The report: one line per check, whatever a deployment sent, and the same as JSON."""

from __future__ import annotations

import json

from app.conformance.report import FAILED, OK, SKIPPED, Report, Result

GOOD = Result("a.good", "All is well", OK, 0.1, note="3 ms")
BAD = Result("a.bad", "All is well", FAILED, 0.2, expected="1", got="2\x1b[2J\nthree", left=2)
LEFT_OUT = Result("a.none", "All is well", SKIPPED, 0.0, note="needs --model")


def test_each_result_is_one_line_that_commands_no_terminal() -> None:
    assert GOOD.line().split() == ["ok", "a.good", "All", "is", "well", "(3", "ms)"]
    assert BAD.line().endswith("All is well: expected 1, got 2 [2J three")
    assert LEFT_OUT.line().startswith("skipped ")
    assert BAD.line().startswith("FAILED ")


def test_one_failure_fails_the_run_and_a_skipped_check_does_not() -> None:
    assert Report("http://x", [GOOD, LEFT_OUT], 1.0).ok
    assert not Report("http://x", [GOOD, BAD], 1.0).ok


def test_the_last_line_counts_and_tells_what_was_left_behind() -> None:
    report = Report("http://x", [GOOD, BAD, LEFT_OUT], 1.26)
    told = "http://x: 1 ok, 1 failed, 1 skipped in 1.3 s; not retracted, but expiring in 15 minutes: 2"
    assert report.summary() == told
    assert Report("http://x", [GOOD, BAD, LEFT_OUT], 1.26, known=9).summary() == (
        f"{told}; users that stay known for a while: 9"
    )


def test_a_program_gets_the_same() -> None:
    found = json.loads(json.dumps(Report("http://x", [GOOD, BAD], 1.0).as_json()))
    assert (found["ok"], found["counts"]) == (False, {"ok": 1, "failed": 1, "skipped": 0})
    assert found["checks"][1]["got"] == "2\x1b[2J\nthree"
