"""Overload gates, in the order in which a request meets them: listener, concurrency limit, admission."""
