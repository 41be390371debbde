"""The worker delivers scheduled messages."""
