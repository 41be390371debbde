"""The measurement of completions works; how fast anything is, it tells itself."""

from __future__ import annotations

import json

from click.testing import CliRunner

from bench.completions import main, measure, table


def test_one_short_round_measures_every_way() -> None:
    said: list[str] = []
    results = measure(rounds=1, say=said.append, streams=2, seconds=1.0)
    assert list(results) == ["direct", "v1", "runs", "rounds"]
    for way in ("direct", "v1", "runs"):
        assert results[way]["unfinished"] == 0
        assert results[way]["tokens_per_s"] > 0
        assert (results[way]["cpu_us_per_token"] > 0) == (way != "direct")
    assert results["runs"]["resume_10000_ms"] > 0
    assert len(said) == 3
    assert "first_token_ms" in table(results)


def test_a_command_that_is_not_there_is_told() -> None:
    done = CliRunner().invoke(main, ["--litellm", "no-such-command"])
    assert (done.exit_code, json.dumps(done.output).count("no-such-command")) == (2, 1)
