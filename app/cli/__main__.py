"""`python -m app.cli` is `belfry`."""

from app.cli import main

main()
