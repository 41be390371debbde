"""Every socket to Redis: connections, pipelines, scripts and subscriptions."""
