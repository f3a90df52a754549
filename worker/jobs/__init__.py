"""The jobs a worker knows, each on a page of its own."""

from .chat import chat
from .embed import embed
from .services import JobContext, Services
from .user_jobs import user_job

__all__ = ["JobContext", "Services", "chat", "embed", "user_job"]
