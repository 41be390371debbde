"""The open connections of a worker: streams, subscribers, sinks, heartbeats."""
