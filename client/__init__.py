"""What Python services import to enqueue LLM calls and wait for their answers.

    from client import Queue

    async with Queue.from_url(url) as queue:
        job = await queue.chat("Why is the sky blue?", model="openai/gpt-4o-mini")
        answer = await job.result(timeout_s=60)

This package uses relative imports only and nothing of promptmill outside itself, so that another
service can vendor or install it under a name of its own.
"""

from typing import TYPE_CHECKING

from . import errors
from .costs import Cost
from .dead import DeadLetter, DeadLetters
from .errors import (
    InvalidRedisURL,
    InvalidRequest,
    JobAborted,
    JobError,
    JobNotFound,
    MillError,
    ProviderError,
    QueueUnavailable,
    ResultTimeout,
    SlotLost,
    SlotTimeout,
)
from .job import Job, JobInfo
from .limits.admin import Limits
from .limits.rules.gauge import LimitState
from .limits.rules.limit import Limit
from .limits.slots import Slot
from .limits.why import Waiting
from .queue import Queue
from .sync import SyncDeadLetters, SyncJob, SyncLimits, SyncQueue
from .wire.codec import decode, encode
from .wire.events import StreamEvent
from .wire.keys import KEYS as keys
from .wire.record import JobStatus
from .wire.schemas import Attempt, ChatRequest, Completion, Embeddings, EmbedRequest, Message, Timings, Usage

if TYPE_CHECKING:
    from .arq import arq_pool, redis_settings

__version__ = "0.2.0"

__all__ = [
    "Attempt",
    "ChatRequest",
    "Completion",
    "Cost",
    "DeadLetter",
    "DeadLetters",
    "EmbedRequest",
    "Embeddings",
    "InvalidRedisURL",
    "InvalidRequest",
    "Job",
    "JobAborted",
    "JobError",
    "JobInfo",
    "JobNotFound",
    "JobStatus",
    "Limit",
    "LimitState",
    "Limits",
    "Message",
    "MillError",
    "ProviderError",
    "Queue",
    "QueueUnavailable",
    "ResultTimeout",
    "Slot",
    "SlotLost",
    "SlotTimeout",
    "StreamEvent",
    "SyncDeadLetters",
    "SyncJob",
    "SyncLimits",
    "SyncQueue",
    "Timings",
    "Usage",
    "Waiting",
    "arq_pool",
    "decode",
    "encode",
    "errors",
    "keys",
    "redis_settings",
]


if not TYPE_CHECKING:  # a checker would believe in every name

    def __getattr__(name: str) -> object:
        """These alone need arq."""
        if name in ("arq_pool", "redis_settings"):
            from . import arq

            return getattr(arq, name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
