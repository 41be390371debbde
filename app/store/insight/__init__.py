"""What Redis keeps for operators: presence, flight recorder, recent messages, figures, audit."""
