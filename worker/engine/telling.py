"""What a worker's log tells of the ends of runs."""

from __future__ import annotations

import asyncio

from client import words

from .run import Ended, Run, why_again

# said once in a worker's life
LEFT_UNREAD = (
    "there are jobs that are no JSON records of jobs, such as arq's pickles, which are never read: they are left in "
    "their queue for a worker that can read them, until their deadlines; `promptmill stats` counts them"
)

logger = words.logger("arq.worker")


def tell_end(current: Run, ended: Ended, error: BaseException) -> None:
    """Why it failed, or runs again; nothing of a job that ended well, or that was left unread."""
    if ended.ending == "left unread":
        return  # said once, for all
    if current.stop == "lost" or ended.ending == "handed back":
        logger.info("↻ %s stopped here", current.ref)
    elif ended.ending == "retried":
        delay_ms = ended.outcome.delay_ms
        when = f"in {delay_ms / 1000:.2f} s" if delay_ms else "in its turn"
        logger.info("↻ %s runs again %s: %s", current.ref, when, why_again(error))
    elif isinstance(error, asyncio.CancelledError):
        logger.info("⊘ %s aborted", current.ref)
    else:
        logger.warning("! %s failed, %s: %s", current.ref, type(error).__name__, error)
