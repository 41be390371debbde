"""From Redis to the readers: the hub, catching up, fan-out, badges."""
