"""Sessions, tickets and revocations in Redis."""
