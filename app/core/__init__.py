"""The pure layer: Belfry's decisions, without redis, flask, gevent, sockets or a clock.

Time, random ids and bytes come in as arguments, so every decision here can be tested as a function.
"""
