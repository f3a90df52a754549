"""What a job keeps in Redis, bytes by kind: while it waits, and once it has ended."""

from __future__ import annotations

from typing import Any

from benchmarks.flow.mill import MODEL, Mill, endings, mill
from benchmarks.options import Options, measured
from benchmarks.report import Case, Figures
from client.wire.keys import KEYS
from promptmill.cli.footprint import read_footprint

from .vectors import MODEL as EMBEDDER

INPUT_CHARS = 8_000  # some 2,000 tokens
OUTPUT_TOKENS = 400
ANSWER_S = 8.0  # streamed, 20 events a second
TEXTS = 100
RESULT_LIMIT_S = 60.0


async def stored(options: Options) -> list[Case]:
    jobs = options.pick(100, 10)
    chat = {"prompt": "p" * INPUT_CHARS, "model": MODEL}
    embed = {"texts": [f"text number {number}" for number in range(TEXTS)], "model": EMBEDDER}
    kinds: dict[str, tuple[str, dict[str, Any]]] = {
        f"a chat, {INPUT_CHARS:,} characters in, {OUTPUT_TOKENS} tokens out": ("chat", chat),
        "the same, streamed over 8 s": ("chat", {**chat, "stream": True}),
        f"an embedding of {TEXTS} texts": ("embed", embed),
    }
    return [
        Case(f"stored: {name}", await measured(name, _measure, verb, request, jobs))
        for name, (verb, request) in kinds.items()
    ]


async def _measure(verb: str, request: dict[str, Any], jobs: int) -> Figures:
    async with mill(max_jobs=jobs, latency_s=ANSWER_S, first_token_s=0.5, output_tokens=OUTPUT_TOKENS) as m:
        enqueue = getattr(m.queue, verb)
        asked = [await enqueue(**request) for _ in range(jobs)]
        waiting = await _bytes_a_job(m, jobs)
        await m.start_workers(1)
        ended = await endings(asked, RESULT_LIMIT_S)
        if ended.answered != jobs:
            raise ValueError(f"{ended.answered} of {jobs} jobs were answered")
        kept = await _bytes_a_job(m, jobs)
    return {
        "waiting_bytes": waiting["payloads"],
        "result_bytes": kept["results"],
        "stream_bytes": kept["streams"],
        "parts_bytes": kept["parts"],
    }


async def _bytes_a_job(m: Mill, jobs: int) -> dict[str, float]:
    found = await read_footprint(m.queue.session.redis, KEYS)
    if found is None:
        raise ValueError("the memory of keys is not told")
    return {kind: size / jobs for kind, size in found.bytes_by_kind.items()}
