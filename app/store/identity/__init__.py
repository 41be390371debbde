"""Sessions, tickets and withdrawals in Redis."""
