"""Logs in Redis: appending, reading, marks and recipients."""
