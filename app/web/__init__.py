"""The web floor: views authenticate, parse, call one service and answer. No Redis command, no loop."""
