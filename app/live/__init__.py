"""The gevent floor: who is connected to this worker, and how appends reach them.

`hub` holds the open logs and the one Redis subscription; `subscriber` is one connection's place in them; `catch_up`
pages history; `sinks` and `poller` are the two ways to a client; `heartbeat` keeps silent streams alive.
"""
