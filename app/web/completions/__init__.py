"""Runs and OpenAI's API over HTTP."""
