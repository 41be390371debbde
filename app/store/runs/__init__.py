"""Runs in Redis: completions that go on without viewers."""
