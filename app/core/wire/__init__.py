"""The data on the wire: SSE, Belfry's own frames, times. Pure."""
