"""The gevent layer: who is connected to this worker, and how appends reach them.

`hub` holds the open logs and the Redis subscription. A `subscriber` is one connection's position in them. `catch_up`
pages history. `sinks` and `poller` are the two ways to a client. `heartbeat` keeps silent streams alive.
"""
