"""`python -m benchmarks.llm.script REQUESTS RESULTS BASE_URL RPM TPM`: the script that people write instead of a queue.

After openai-cookbook's examples/api_request_parallel_processor.py: one asyncio loop reads requests from a JSONL file,
starts each when two token buckets have room for it (requests and tokens a minute, full at first), tries a failed one
again at the end, and appends the answers to a JSONL file. As there, nothing remembers what has been done: run again, it
begins at the first line.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import deque
from pathlib import Path
from time import monotonic
from typing import Any

import aiohttp

ATTEMPTS = 5
PAUSE_S = 0.001  # between two looks at the buckets
CHARS_PER_TOKEN = 4


class Bucket:
    """So much a minute; a whole minute's at first."""

    def __init__(self, per_min: float, now_s: float) -> None:
        self.left = self._per_min = per_min
        self._at_s = now_s

    def fill(self, now_s: float) -> None:
        self.left = min(self._per_min, self.left + self._per_min * (now_s - self._at_s) / 60)
        self._at_s = now_s


async def process(requests: list[str], results: Path, base_url: str, rpm: float, tpm: float) -> None:
    """Makes every call in `requests`, and returns when all have an answer or have failed for good."""
    waiting = deque((json.loads(line), ATTEMPTS) for line in requests)
    asks, tokens = Bucket(rpm, monotonic()), Bucket(tpm, monotonic())
    flying: set[asyncio.Task[None]] = set()
    connector = aiohttp.TCPConnector(limit=0)
    with results.open("a") as file:
        async with aiohttp.ClientSession(base_url, connector=connector) as session:

            async def call(request: dict[str, Any], left: int) -> None:
                answer = await _ask(session, request)
                if answer is None and left > 1:
                    waiting.append((request, left - 1))
                else:
                    file.write(json.dumps([request["id"], answer]) + "\n")
                    file.flush()

            while waiting or flying:
                asks.fill(monotonic())
                tokens.fill(monotonic())
                while waiting and asks.left >= 1 and tokens.left >= (cost := _tokens(waiting[0][0])):
                    asks.left -= 1
                    tokens.left -= cost
                    task = asyncio.create_task(call(*waiting.popleft()))
                    flying.add(task)
                    task.add_done_callback(flying.discard)
                await asyncio.sleep(PAUSE_S)


async def _ask(session: aiohttp.ClientSession, request: dict[str, Any]) -> dict[str, Any] | None:
    headers = {"authorization": "Bearer simulated", "x-client-request-id": f"{request['id']}:1"}
    try:
        async with session.post("chat/completions", json=request["body"], headers=headers) as reply:
            answer: dict[str, Any] = await reply.json()
            return answer if reply.ok else None
    except (aiohttp.ClientError, ValueError):
        return None


def _tokens(request: dict[str, Any]) -> int:
    """An estimate, as the script's: the prompt and all that the answer may have."""
    chars = sum(len(message["content"]) for message in request["body"]["messages"])
    return chars // CHARS_PER_TOKEN + int(request["body"].get("max_tokens", 16))


if __name__ == "__main__":
    source, target, url, requests_per_min, tokens_per_min = sys.argv[1:]
    lines = Path(source).read_text().splitlines()
    asyncio.run(process(lines, Path(target), f"{url}/", float(requests_per_min), float(tokens_per_min)))
