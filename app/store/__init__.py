"""The Redis layer: it contains every Redis command of Belfry, and translates every Redis error."""
