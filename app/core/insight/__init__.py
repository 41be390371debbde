"""What an operator sees: figures and the trace of one message. Pure."""
