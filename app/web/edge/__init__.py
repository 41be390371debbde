"""The edge of the web layer: authentication, request reading, limits, error answers."""
