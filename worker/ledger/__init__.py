"""What calls cost, added up by model, tenant and day."""

from .book import Book, tenant_of

__all__ = ["Book", "tenant_of"]
