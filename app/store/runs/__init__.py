"""Runs in Redis: completions that continue without viewers."""
