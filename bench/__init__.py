"""Measurements of Belfry beside its peers: real servers, real sockets, several rounds. `./run bench --help`."""
