"""The pure layer: Belfry's decisions, without redis, flask, gevent, sockets or a clock.

Callers pass in time, random ids and bytes. So every decision here can be tested as a function.
"""
