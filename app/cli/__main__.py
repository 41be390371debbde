"""`python -m app.cli` is `belfry`."""

from . import main

main()
