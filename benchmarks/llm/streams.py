"""Streams, relayed to Redis and followed from another process.

The provider writes into each delta when it sends it (`--stamp-deltas`), so the delay of a delta is from then until a
follower, a process of its own on the same clock, has it in its hands: network, worker, coalescing, Redis, listener. The
jobs are enqueued to start some seconds later, when their followers are there. Followers' CPU counts from the first
event to the last; their connections are CLIENT LIST's, by a user of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.flow.mill import MODEL, PROMPT, Mill, endings, mill
from benchmarks.flow.provider import provider
from benchmarks.flow.verdict import at_most, judged
from benchmarks.options import Options, is_absent, measured
from benchmarks.report import Case, Figures

from .bare import bare, has
from .ratio import ratio
from .reporter import reporter

DELTAS = 50
FIRST_S = 0.1  # a stream's first delta
DEFER_S = 3.0  # a stream's followers are there by then
FOLLOWED = 50  # streams of which the delays are taken
USER = "followers"  # of the server, so that their connections can be counted
MOST_TIMES = 2.0  # the bare loop's CPU
MOST_P50_MS, MOST_P99_MS = 60.0, 150.0
MOST_CONNECTIONS, MOST_CORES = 3, 1.0

_DELAYS = ("delay_p50_ms", "delay_p99_ms", "delay_max_ms")
RELAYING = ("absent", "calls", "wall_s", "calls_per_s", "cpu_ms_per_call", "rss_mb", *_DELAYS)
READING = ("connections", "cores", "events", "cpu_us_per_event", *_DELAYS)


@dataclass(frozen=True, slots=True)
class Load:
    """So many streams at once, of which some are followed."""

    streams: int
    followed: int
    stream_s: float

    def settings(self) -> dict[str, Any]:
        """The provider's."""
        return {"latency_s": self.stream_s, "first_token_s": FIRST_S, "output_tokens": DELTAS}


async def streams(options: Options) -> list[Case]:
    load = options.pick(Load(1_000, FOLLOWED, 5.0), Load(100, 20, 2.0))

    name = f"streams: {load.streams:,} of {DELTAS} deltas over {load.stream_s:g} s"
    relayed = await measured("streams, promptmill", _relayed, load)
    async with provider(latency_sigma=0, stamp_deltas=True, **load.settings()) as simulated:
        words = simulated.base_url, load.streams, load.streams
        loop = await measured("streams, bare loop", bare, "httpx-aiohttp", *words, streamed=True)
        sdk = await measured("streams, SDK", bare, "openai", *words, streamed=True) if has("openai") else None
    relayed = _only(RELAYING, relayed) | {"times_bare": ratio(relayed, loop, "cpu_ms_per_call")}

    def meets() -> bool:
        on_time = at_most(relayed, "delay_p50_ms", MOST_P50_MS) and at_most(
            relayed, "delay_p99_ms", MOST_P99_MS
        )
        return on_time and at_most(relayed, "times_bare", MOST_TIMES)

    goal = (
        f"CPU at most {MOST_TIMES:g} times the bare loop's; "
        f"added delay p50 at most {MOST_P50_MS:g} ms, p99 {MOST_P99_MS:g} ms"
    )
    cases = [
        Case(f"{name}, promptmill", relayed, goal, None if is_absent(relayed) else meets()),
        Case(f"{name}, bare loop", loop),
    ]
    return cases if sdk is None else [*cases, Case(f"{name}, bare loop with the openai SDK", sdk)]


async def readers(options: Options) -> list[Case]:
    load = options.pick(Load(500, 500, 5.0), Load(100, 100, 2.0))

    async def measure() -> Figures:
        return _only(READING, await _relayed(load))

    def meets(figures: Figures) -> bool:
        few = at_most(figures, "connections", MOST_CONNECTIONS)
        return few and at_most(figures, "cores", MOST_CORES)

    name = f"readers: {load.followed} streams followed in one process"
    return [
        await judged(name, measure, f"at most {MOST_CONNECTIONS} connections, {MOST_CORES:g} core", meets)
    ]


def _only(names: Sequence[str], figures: Figures) -> Figures:
    return {name: figures[name] for name in names if name in figures}


async def _relayed(load: Load) -> Figures:
    async with mill(max_jobs=load.streams, stamp_deltas=True, **load.settings()) as m:
        await m.start_workers(1)
        worker = m.scene.workers[0]
        ids = [f"stream-{number}" for number in range(load.streams)]
        request = {"prompt": PROMPT, "model": MODEL, "stream": True}
        asked = await m.queue.chat_many([request] * load.streams, job_ids=ids, defer_s=DEFER_S)
        words = await _url_of_followers(m), load.streams, load.followed
        async with reporter(f"{__package__}.following", *words) as follower:
            await follower.line(DEFER_S + 20)
            before_s = worker.cpu_s()
            await m.watch(lambda now: now.completed >= load.streams, 10 * load.stream_s + 30, every_s=0.5)
            ended = await endings(asked, 20)
            cpu_s, connections = worker.cpu_s() - before_s, await _connections(m)
            worker_rss_bytes = worker.rss_bytes()
            followed = await follower.line(30)
        seen = await m.provider.counts()
    if followed["deltas"] != load.followed * DELTAS:
        raise ValueError(f"{followed['deltas']} of {load.followed * DELTAS} deltas were read")
    return {
        "calls": ended.answered,
        "wall_s": seen.wall_s,
        "calls_per_s": ended.answered / seen.wall_s,
        "cpu_ms_per_call": 1000 * cpu_s / load.streams,
        "rss_mb": worker_rss_bytes / 1024**2,
        "connections": connections,
        **followed,
    }


async def _url_of_followers(m: Mill) -> str:
    rules = "reset", "on", f">{USER}", "~*", "&*", "+@all"
    redis: Any = m.queue.session.redis  # redis-py types this method not at all
    await redis.execute_command("ACL", "SETUSER", USER, *rules)
    return m.scene.server.url.replace("redis://", f"redis://{USER}:{USER}@")


async def _connections(m: Mill) -> int:
    clients: list[dict[str, str]] = await m.queue.session.redis.client_list()
    return sum(client["user"] == USER for client in clients)
