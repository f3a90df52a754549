"""Which fault, if any, befalls a call."""

from enum import StrEnum
from random import Random

from .config import SimulatorConfig


class Fault(StrEnum):
    """The ways a call can go wrong; the value is the configuration's field less `fault_`."""

    RATE_LIMITED = "429"
    SERVER_ERROR = "500"
    OVERLOADED = "529"
    HANG = "hang"
    RESET = "reset"
    CUT_STREAM = "cut_stream"
    MALFORMED = "malformed"


def draw_fault(config: SimulatorConfig, random: Random) -> Fault | None:
    """One draw a call, so the probabilities are of exclusive events."""
    point = random.random()
    for fault in Fault:
        point -= getattr(config, f"fault_{fault}")
        if point < 0:
            return fault
    return None
