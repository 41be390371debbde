"""The entry point of `python -m` for the command `belfry`."""

from . import main

main()
