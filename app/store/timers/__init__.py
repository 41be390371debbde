"""Redis: scheduled messages."""
