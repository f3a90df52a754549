"""A base URL and a path → the address of a call."""

from __future__ import annotations

import httpx


def address(base_url: str, path: str, query: str = "") -> httpx.URL:
    """`path` below the base URL, whose own query (`?api-version=2024-10-21`, Azure's) stays behind it."""
    base, _, own = base_url.partition("?")
    behind = "&".join(filter(None, (own, query)))
    return httpx.URL(f"{base.rstrip('/')}{path}" + (f"?{behind}" if behind else ""))
