"""Logs: cursors, catching up, marks. Pure."""
