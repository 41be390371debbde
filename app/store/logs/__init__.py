"""Logs in Redis: append, read, marks, recipients."""
