"""The module `cli` is the command `belfry`."""

from . import main

main()
