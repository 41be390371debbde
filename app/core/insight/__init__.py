"""What operators see: figures and the trace of one message. Pure."""
