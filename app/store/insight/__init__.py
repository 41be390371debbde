"""Data in Redis for operators: presence, flight recorder, recent messages, figures, audit."""
