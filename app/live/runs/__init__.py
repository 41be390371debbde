"""The runs of a worker: relays, upstreams and models."""
