"""How long a call takes: pure functions of the configuration and a draw."""

import math
from dataclasses import dataclass
from random import Random

from .config import SimulatorConfig

FIRST_TOKEN_SHARE = 0.2  # of the total latency, where `first_token_s` is unset


@dataclass(frozen=True, slots=True)
class Latency:
    """When a stream's tokens are due: the first after `first_token_s`, then one each `gap_s`."""

    first_token_s: float
    gap_s: float


def draw_latency_s(config: SimulatorConfig, random: Random) -> float:
    """Seconds for a whole answer: log-normal around the median `latency_s`."""
    if not config.latency_s or not config.latency_sigma:
        return config.latency_s
    return random.lognormvariate(math.log(config.latency_s), config.latency_sigma)


def pace_of(config: SimulatorConfig, total_s: float, tokens: int) -> Latency:
    """The pace at which `tokens` stream in `total_s`, or at the configured pace instead."""
    first_s = total_s * FIRST_TOKEN_SHARE if config.first_token_s is None else config.first_token_s
    if config.tokens_per_s is not None:
        return Latency(first_s, 1 / config.tokens_per_s)
    return Latency(first_s, max(0.0, total_s - first_s) / max(1, tokens - 1))
