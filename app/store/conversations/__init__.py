"""Conversations in Redis: the questions of a user, turn by turn, and the answers of a model."""
