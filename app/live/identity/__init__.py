"""The signing keys and the withdrawn credentials that a worker knows."""
