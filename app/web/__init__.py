"""The web layer: each view authenticates, parses, calls one service and answers. Views send no Redis command.

Views run no loop.
"""
