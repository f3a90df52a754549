"""What the tests of the engine's scripts share: a server without an engine, and hands to set it up."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis

from client import encode
from client.redis.connection import connect
from client.redis.url import server_address
from client.wire.token import place_of
from tests.conftest import KEYS, Server
from worker.engine.scripts import Claim, Claimed, EngineScripts, Lease, Outcome

LEASE_MS = 15_000
HOLD_MS = 3_600_000
LIFE_MS = 86_400_000
OTHER_LANE = KEYS.lane("other")


@dataclass
class Room:
    """The scripts and a raw client on one server."""

    server: Server
    raw: Any  # redis.Redis, whose type hints allow for awaitable replies
    scripts: EngineScripts
    pool: Redis
    deaths: int = 0  # of workers: their names are not used again

    def now_ms(self) -> int:
        seconds, micros = self.raw.time()
        return int(seconds * 1000 + micros // 1000)

    def put(self, *job_ids: str, lane: str = KEYS.queue, in_ms: int = 0, told: bool = True) -> None:
        """Queues jobs, due in order, a ms apart before `in_ms` from now. `told` enters the lane in mill:lanes."""
        first_ms = self.now_ms() + in_ms - len(job_ids)
        pipe = self.raw.pipeline(transaction=False)
        for n, job_id in enumerate(job_ids):
            pipe.set(KEYS.job(job_id), payload(job_id), px=LIFE_MS)
            pipe.zadd(lane, {job_id: first_ms + n})
        if told:
            pipe.zadd(KEYS.lanes, {lane: first_ms}, lt=True)
        pipe.execute()

    def lapse(self, lease: Lease) -> None:
        """Ages a lease, or the wait for another try, until it has ended."""
        past_ms, self.deaths = self.now_ms() - 1, self.deaths + 1
        self.raw.zadd(lease.lane, {lease.job_id: past_ms}, xx=True)
        if self.raw.zscore(KEYS.returns, return_of(lease)):
            self.raw.zadd(KEYS.returns, {return_of(lease): past_ms})
        else:
            self.raw.zadd(KEYS.returns, {f"{past_ms} {lease.lane}": past_ms})
        self.raw.zadd(KEYS.lanes, {lease.lane: past_ms}, lt=True)

    def tick(self) -> None:
        """Lanes are served by name within a millisecond: this is the next one."""
        now_ms = self.now_ms()
        while self.now_ms() == now_ms:
            pass

    async def claim(
        self, want: int = 100, *, worker: str = "w1", queue: str = KEYS.queue, lease_ms: int = LEASE_MS
    ) -> Claim:
        return await self.scripts.claim(
            queue, self.name(worker), want=want, lease_ms=lease_ms, hold_ms=HOLD_MS
        )

    def name(self, worker: str) -> str:
        """Of the process that does now what `worker` did."""
        return f"{worker}.{self.deaths}" if self.deaths else worker

    async def claim_one(self, *, worker: str = "w1") -> Claimed:
        (job,) = (await self.claim(1, worker=worker)).jobs
        return job

    async def finish(self, lease: Lease, verb: Any = "done", text: bytes = b"", **more: Any) -> bool:
        (accepted,) = await self.scripts.finish([Outcome(lease, verb, text, **more)])
        return accepted

    def score(self, lane: str, job_id: str) -> int | None:
        score = self.raw.zscore(lane, job_id)
        return None if score is None else int(score)

    def dump(self) -> dict[str, Any]:
        """Every key but the epoch and the returns, and what it holds; zsets without their scores."""
        read: dict[bytes, Callable[[bytes], Any]] = {
            b"string": self.raw.get,
            b"zset": lambda key: [member.decode() for member in self.raw.zrange(key, 0, -1)],
            b"list": lambda key: self.raw.lrange(key, 0, -1),
            b"hash": self.raw.hgetall,
            b"stream": self.raw.xrange,
        }
        names = sorted(set(self.raw.scan_iter()) - {KEYS.epoch.encode(), KEYS.returns.encode()})
        return {key.decode(): read[self.raw.type(key)](key) for key in names}

    def commands(self) -> int:
        """Redis commands executed so far, those that scripts call included."""
        return sum(stat["calls"] for stat in self.raw.info("commandstats").values())

    def scripts_run(self) -> int:
        stats = self.raw.info("commandstats")
        return sum(stats.get(name, {"calls": 0})["calls"] for name in ("cmdstat_evalsha", "cmdstat_eval"))


def payload(job_id: str) -> bytes:
    return encode({"t": None, "f": "work", "a": [job_id], "k": {}, "et": 1})


def return_of(lease: Lease) -> str:
    """The member of KEYS.returns while the job waits for another try."""
    return f"{place_of(lease.token)} {lease.lane}\n{lease.job_id}"


def ids(claim: Claim) -> list[str]:
    return [job.lease.job_id for job in claim.jobs]


@asynccontextmanager
async def opened(server: Server) -> AsyncIterator[Room]:
    """A room on this server; it leaves no lane behind."""
    pool = connect(server_address(server.url))
    with server.client() as raw:
        try:
            yield Room(server, raw, EngineScripts(pool, KEYS), pool)
        finally:
            await pool.aclose()
            if server.process is not None:
                for lane in (KEYS.lanes, *raw.scan_iter(KEYS.lane("*"), count=10_000)):
                    raw.delete(lane)
