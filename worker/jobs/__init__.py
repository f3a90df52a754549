"""The jobs a worker knows, each on a page of its own."""

from .chat import chat
from .embed import embed
from .services import SERVICES, JobContext, Services
from .user_jobs import user_job

__all__ = ["SERVICES", "JobContext", "Services", "chat", "embed", "user_job"]
