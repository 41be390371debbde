"""Scheduled messages in Redis."""
