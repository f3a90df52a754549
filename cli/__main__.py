"""`python -m cli`."""

from . import main

main()
