"""Runs in Redis: completions that live apart from their viewers."""
