"""What a worker knows of keys and withdrawals."""
