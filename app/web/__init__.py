"""The web layer: views authenticate, parse, call one service and answer. They send no Redis command and run no loop."""
