"""What the tests of the limits share: the engine's scripts under limits, and a time that the test moves."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.conftest import KEYS, Server
from tests.server.test_engine_room import HOLD_MS, LEASE_MS, LIFE_MS, Room, opened, payload
from worker.engine.scripts import Claim, Claimed, Lease, Outcome

MODEL = "openai/gpt-4o"
MODELS = (MODEL, "openai/embed")

# The server's clock cannot be set, so whatever is a moment is moved instead.
_AGE = (
    f"local P = '{KEYS.prefix}'\n"
    + """
local by = tonumber(ARGV[1])
local function earlier(text) return string.format('%.0f', tonumber(text) - by) end
local names = redis.call('KEYS', P .. 'mill:*')
for _, pattern in ipairs({ 'arq:queue', 'arq:in-progress:*' }) do
  for _, key in ipairs(redis.call('KEYS', P .. pattern)) do names[#names + 1] = key end
end
for _, key in ipairs(names) do
  local name = string.sub(key, #P + 1)
  local kind = redis.call('TYPE', key).ok
  if kind == 'zset' then
    local row = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
    for i = 1, #row, 2 do
      if tonumber(row[i + 1]) > 0 then  -- 0 is no moment: the slot was taken away
        redis.call('ZADD', key, string.format('%.17g', tonumber(row[i + 1]) - by), row[i])
      end
    end
  elseif string.sub(name, 1, 10) == 'mill:flow:' then
    local row = redis.call('HGETALL', key)
    for i = 1, #row, 2 do
      if string.sub(row[i], -3) == '_ms' and row[i] ~= 'gap_ms' then
        redis.call('HSET', key, row[i], earlier(row[i + 1]))
      end
    end
  elseif string.sub(name, 1, 16) == 'arq:in-progress:' then
    local micros, name = string.match(redis.call('GET', key), '^mill:(%d+):(.*)$')
    if micros then
      micros = string.format('%.0f', tonumber(micros) - by * 1000)
      redis.call('SET', key, 'mill:' .. micros .. ':' .. name, 'KEEPTTL')
    end
  elseif name == 'mill:epoch' then
    local epoch, quarantine = string.match(redis.call('GET', key), '^(%S+) (%d+)$')
    if quarantine ~= '0' then redis.call('SET', key, epoch .. ' ' .. earlier(quarantine), 'KEEPTTL') end
  end
end
"""
)


@dataclass
class LimitsRoom(Room):
    """Leases keep their meaning when the room ages: their tokens name the moment of the claim."""

    aged_ms: int = 0
    _aged_at: dict[str, int] = field(default_factory=dict)  # token → aged_ms when it was given

    def limit(self, key: str, **fields: Any) -> None:
        """Sets a limit, and has whoever waits for it looked at, as client/limits/lua/change.lua does."""
        self.raw.hset(KEYS.limits, key, json.dumps(fields))
        if self.raw.exists(KEYS.blocked(key)):
            self.raw.zadd(KEYS.gates, {key: self.now_ms()})

    def evict(self, key: str, job_id: str) -> None:
        """Takes a slot away, as client/limits/lua/evict.lua does."""
        self.raw.zadd(KEYS.slots(key), {job_id: 0}, xx=True)
        if self.raw.exists(KEYS.blocked(key)):
            self.raw.zadd(KEYS.gates, {key: self.now_ms()})

    def call(self, job_id: str, lane: str = MODEL, tokens: int = 0, output: int = -1) -> None:
        """Queues a call that is estimated to use so many tokens."""
        self.put(job_id, lane=KEYS.lane(lane))
        text = payload(job_id).replace(b"{", b'{"n":%d,"m":%d,' % (tokens, output), 1)
        self.raw.set(KEYS.job(job_id), text, px=LIFE_MS)

    def calls(self, count: int, lane: str = MODEL, prefix: str = "") -> list[str]:
        """Queues calls without tokens, named {prefix}0, {prefix}1 and so on."""
        names = [f"{prefix}{n}" for n in range(count)]
        self.put(*names, lane=KEYS.lane(lane))
        return names

    def age(self, ms: int) -> None:
        """Lets `ms` pass: all moments there are lie so much further back. Days stay what they are."""
        self.raw.eval(_AGE, 0, ms)
        self.aged_ms += ms

    def now(self, lease: Lease) -> Lease:
        """The lease with the token that it has by now."""
        by = self.aged_ms - self._aged_at.get(lease.token, self.aged_ms)
        word, micros, name = lease.token.split(":", 2)
        return lease._replace(token=f"{word}:{int(micros) - by * 1000}:{name}")

    async def claim(
        self, want: int = 100, *, worker: str = "w1", queue: str = KEYS.queue, lease_ms: int = LEASE_MS,
        epoch: str = "", models: tuple[str, str] = MODELS,
    ) -> Claim:  # fmt: skip
        claim = await self.scripts.claim(
            queue,
            self.name(worker),
            want=want,
            lease_ms=lease_ms,
            hold_ms=HOLD_MS,
            epoch=epoch,
            models=models,
        )
        for job in claim.jobs:
            self._aged_at[job.lease.token] = self.aged_ms
        return claim

    async def finish(self, lease: Lease, verb: Any = "done", text: bytes = b"", **more: Any) -> bool:
        return await super().finish(self.now(lease), verb, text, **more)

    async def finish_all(self, jobs: Sequence[Claimed], verb: Any = "done", **more: Any) -> list[bool]:
        """All in one batch."""
        return await self.scripts.finish([Outcome(self.now(job.lease), verb, **more) for job in jobs])

    async def renew(self, *jobs: Claimed, lease_ms: int = LEASE_MS) -> list[int]:
        return await self.scripts.renew([self.now(job.lease) for job in jobs], lease_ms)

    def holders(self, key: str) -> set[str]:
        """Who has a slot whose lease has not lapsed."""
        names = self.raw.zrangebyscore(KEYS.slots(key), f"({self.now_ms()}", "+inf")
        return {name.decode() for name in names}

    def flow(self, key: str) -> dict[str, float]:
        return {name.decode(): float(value) for name, value in self.raw.hgetall(KEYS.flow(key)).items()}

    def set_flow(self, key: str, **fields: float) -> None:
        self.raw.hset(KEYS.flow(key), mapping=fields)
        self.raw.expire(KEYS.flow(key), 3_600)


def used(
    requests: int = 0, tokens: int = 0, usd: float = 0, output: int = -1, signal: str = "-", wait_ms: int = 0
) -> str:
    """What `finish` settles: what is given back, the output written, how the provider answered."""
    return f"{requests} {tokens} {usd:.12g} {output} {signal} {wait_ms}"


OK, REFUSED = used(signal="ok"), used(signal="refused")


@asynccontextmanager
async def limited(server: Server) -> AsyncIterator[LimitsRoom]:
    """A room whose jobs have limits. It leaves no lane behind."""
    async with opened(server) as room:
        yield LimitsRoom(room.server, room.raw, room.scripts, room.pool)
