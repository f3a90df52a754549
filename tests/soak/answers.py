"""The one right answer to each prompt, and the one right vector of each text."""

from __future__ import annotations

from hashlib import blake2b


def text(prompt: str) -> str:
    """A dozen words that no other prompt has."""
    digest = blake2b(prompt.encode(), digest_size=20).hexdigest()
    return " ".join([prompt, "is", *(digest[at : at + 4] for at in range(0, 40, 4))])


def vector(text: str) -> list[float]:
    """Eight numbers that float32 holds exactly."""
    return [byte / 256 for byte in blake2b(text.encode(), digest_size=8).digest()]
