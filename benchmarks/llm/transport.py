"""What each HTTP client costs under load: bare loops, plain and streamed (docs/decisions/0002-http-transport.md).

A loop has TIMES calls for each place, one after the other, so that connections are used again. After LIMIT_S it is
over, and what it has answered until then counts: httpx's own pool would need minutes.
"""

from __future__ import annotations

from benchmarks.flow.provider import provider
from benchmarks.options import Options, measured
from benchmarks.report import Case, Figures

from .bare import bare

CLIENTS = ("httpx-aiohttp", "aiohttp", "httpx")
TIMES = 2
CALL_S = 1.0
DELTAS, STREAM_S = 20, 2.0
LIMIT_S = 15.0


async def transport(options: Options) -> list[Case]:
    levels = options.pick((100, 500, 1_000, 2_000), (50,))
    cases = []
    for streamed in options.pick((False, True), (True,)):
        settings = {"latency_s": STREAM_S, "output_tokens": DELTAS} if streamed else {"latency_s": CALL_S}
        async with provider(latency_sigma=0, **settings) as simulated:
            for at_once in levels:
                for client in CLIENTS:
                    name = f"transport: {at_once:,} {'streams' if streamed else 'calls'} at once, {client}"
                    figures = await measured(name, _loop, client, simulated.base_url, at_once, streamed)
                    cases.append(Case(name, figures))
    return cases


async def _loop(client: str, base_url: str, at_once: int, streamed: bool) -> Figures:
    calls = at_once if streamed else TIMES * at_once
    return await bare(client, base_url, calls, at_once, streamed=streamed, limit_s=LIMIT_S)
