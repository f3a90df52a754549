"""Streamed answers on their way to Redis: what a run has said so far, coalesced, all runs in one script call."""

from .relay import Relay

__all__ = ["Relay"]
