"""What a worker asks of a server and tells it of itself, whatever the server lets it do, and however full it is."""

from __future__ import annotations

from datetime import datetime
from time import monotonic, time
from typing import Any

from arq.connections import log_redis_info
from arq.worker import Worker
from redis.exceptions import OutOfMemoryError, ResponseError

from client import words
from client.redis.connection import reachable
from client.redis.note import note
from client.redis.rights import WORKER, RightsMissing
from client.redis.scripts import check, missing_rights
from worker.unreachable import as_unreachable

from .pool import address_of
from .telling import LEFT_UNREAD

FULL_EVERY_S = 60.0  # how often it is said that cron jobs wait

logger = words.logger("arq.worker")


class Reporter(Worker):
    """arq's Worker, with another first contact, report and enqueueing of cron jobs."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.keys = address_of(self.redis_settings or self._pool).keys
        self.queue_name = self.keys.own(self.queue_name)
        self.health_check_key = self.keys.own(self.health_check_key)
        self._full_told_s: float | None = None  # monotonic
        self._has_told_of_unread = False

    async def meet_redis(self) -> None:
        """Makes sure that it may do all that its jobs will need, and logs what the server tells of itself, if it does.

        Raises QueueUnavailable.
        """
        logger.info("Starting worker for %d functions: %s", len(self.functions), ", ".join(self.functions))
        with reachable():
            await check(self.pool, self.keys, WORKER)
            try:
                await log_redis_info(self.pool, logger.info)
            except ResponseError as error:  # INFO counts as dangerous: not everybody may use it
                logger.info("Redis tells nothing of itself: %s", error)

    async def is_served(self) -> None:
        """Raises what says that Redis is away, or that its user has lost a right that is needed."""
        await self.pool.ping()
        _, missing = await missing_rights(self.pool, self.keys, WORKER)
        if missing:
            raise RightsMissing(f"grant {' '.join(missing)}")

    async def record_health(self) -> None:
        """As arq's, on a server that is full, too."""
        now_s = time()
        if now_s - self._last_health_check < self.health_check_interval:
            return
        self._last_health_check = now_s
        ongoing = sum(not task.done() for task in self.tasks.values())
        queued = await self.pool.zcard(self.queue_name)
        counts = (
            f"j_complete={self.jobs_complete} j_failed={self.jobs_failed} j_retried={self.jobs_retried} "
            f"j_ongoing={ongoing} queued={queued}"
        )
        info = f"{datetime.now():%b-%d %H:%M:%S} {counts}"
        await note(self.pool, self.keys, self.health_check_key, self.health_check_interval + 1, info)
        if self._last_health_check_log not in (None, counts):
            logger.info("recording health: %s", info)
        self._last_health_check_log = counts

    async def run_cron(self, n: datetime, delay: float, num_windows: int = 2) -> None:
        """As arq's. What a full server refuses is enqueued when it has room: its moment does not pass."""
        moments = [(cron, cron.next_run) for cron in self.cron_jobs]
        try:
            with as_unreachable():
                await super().run_cron(n, delay, num_windows)
        except OutOfMemoryError as error:
            for cron, moment in moments:
                if moment is not None or cron.run_at_startup:
                    cron.next_run = moment  # those that were enqueued keep their ids
            now_s = monotonic()
            if self._full_told_s is None or now_s - self._full_told_s >= FULL_EVERY_S:
                self._full_told_s = now_s
                logger.warning("Redis is full: cron jobs wait until it has room (%s)", error)

    def _tell_of_unread(self, count: int) -> None:
        if count and not self._has_told_of_unread:
            self._has_told_of_unread = True
            logger.warning(LEFT_UNREAD)
