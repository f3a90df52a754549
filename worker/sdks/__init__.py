"""The worker's HTTP connections, for the SDKs that jobs call: their own pools are slow (docs/decisions/0002)."""

from .connections import http_client, lend

__all__ = ["http_client", "lend"]
