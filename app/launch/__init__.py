"""`./run` and `belfry serve`: the launcher, the embedded store, the demo and the stand-in model server."""
