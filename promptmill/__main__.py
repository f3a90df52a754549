"""`python -m promptmill`."""

from .cli import main

main()
