"""`python -m promptmill.simulator`, which is `promptmill simulator`."""

from .command import simulator

simulator()
