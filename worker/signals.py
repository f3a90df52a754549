"""What a job raises to say what is to become of it, beside arq's Retry. A leaf."""

from __future__ import annotations

from arq import Retry


class Throttled(Retry):
    """As arq.Retry, but the run that ended so uses no try: the provider, or whatever it needed, had no room.

    Without a delay the job keeps its place in its lane, and the cooldown of its limit does the waiting.
    """


class Reroute(Exception):
    """Raised by a job that belongs into another lane: it goes there, in its place in time, and uses no try.

    `lane` is the lane's name; `payload` replaces the job's where given.
    """

    def __init__(self, lane: str, payload: bytes | None = None) -> None:
        super().__init__(lane)
        self.lane = lane
        self.payload = payload
