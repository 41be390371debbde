"""Conversations in Redis: what a user asked, turn by turn, and what a model answered."""
