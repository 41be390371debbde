"""What goes over the wire: SSE, Belfry's own frames, times. Pure."""
