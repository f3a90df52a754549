"""Requests and tokens a minute, enforced by the provider and set the same with us: how much of them is used.

The provider's buckets hold a whole minute when they are full, which would forgive a short run everything. So all but
SPARE of them is spent first; from then on whoever is faster than the rate is refused.
"""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.options import Options
from benchmarks.report import Case, Figures

from .mill import MODEL, PROMPT, Mill, mill
from .verdict import at_least, at_most, judged

RPM, TPM = 600, 100_000
SPARE = 0.2  # of a bucket; twice what our own bucket holds
WORKERS, MAX_JOBS = 2, 100
CALL_S = 0.5
SAMPLE_S = 0.5
LEAST_PERCENT, MOST_REFUSED_PERCENT = 95.0, 0.5
CHARS_PER_TOKEN = 4  # the simulator's


@dataclass(frozen=True, slots=True)
class Load:
    """Calls of which one of the two rates takes fewer."""

    binding: str
    prompt: str
    max_tokens: int

    def tokens(self) -> int:
        """What the simulator counts of a call: it answers up to max_tokens."""
        return -(-len(self.prompt) // CHARS_PER_TOKEN) + self.max_tokens

    def allowed_per_min(self) -> float:
        """Calls."""
        return min(RPM, TPM / self.tokens())


SMALL = Load("rpm", PROMPT, 40)
LARGE = Load("tpm", "word " * 320, 100)  # 500 tokens, 200 calls a minute


async def rpm(options: Options) -> list[Case]:
    return [await _rate(options, SMALL)]


async def tpm(options: Options) -> list[Case]:
    return [await _rate(options, LARGE)]


async def _rate(options: Options, load: Load) -> Case:
    """The rate is what is completed after our own bucket's head start of 6 s, so that it counts for nothing."""
    run_s, warm_s = options.pick((45.0, 8.0), (4.0, 1.0))
    settings = {"rpm": RPM, "tpm": TPM, "output_tokens": load.max_tokens}

    async def measure() -> Figures:
        async with mill(
            limits=f"{MODEL} rpm={RPM} tpm={TPM}", max_jobs=MAX_JOBS, latency_s=0, **settings
        ) as m:
            await m.start_workers(WORKERS)
            await _spend(m, load)
            jobs = int(load.allowed_per_min() * (run_s / 60 + 0.5))  # more than can be done
            await m.queue.chat_many(
                [{"prompt": load.prompt, "model": MODEL, "max_tokens": load.max_tokens}] * jobs
            )
            start_s = (await m.provider.counts()).at_s
            seen = await m.watch(lambda now: now.at_s >= start_s + run_s, run_s + 10, SAMPLE_S)
        first, last = next(now for now in seen if now.at_s >= start_s + warm_s), seen[-1]
        minutes = (last.at_s - first.at_s) / 60
        calls_per_min = (last.completed - first.completed) / minutes
        return {
            "calls_per_min": calls_per_min,
            "tokens_per_min": (last.tokens - first.tokens) / minutes,
            "allowed_calls_per_min": load.allowed_per_min(),
            "used_percent": 100 * calls_per_min / load.allowed_per_min(),
            "requests": last.requests,
            "refused": last.refused,
            "refused_percent": 100 * last.refused / max(last.requests, 1),
        }

    def meets(figures: Figures) -> bool:
        used = at_least(figures, "used_percent", LEAST_PERCENT)
        return used and at_most(figures, "refused_percent", MOST_REFUSED_PERCENT)

    name = f"{load.binding}: {RPM} requests and {TPM:,} tokens a minute, calls of {load.tokens()} tokens"
    goal = f"at least {LEAST_PERCENT:g} % of the allowed rate, under {MOST_REFUSED_PERCENT:g} % refused"
    return await judged(name, measure, goal, meets)


async def _spend(m: Mill, load: Load) -> None:
    """Leaves SPARE of the binding bucket, then makes calls as long as they are to be."""
    if load.binding == "rpm":
        prompts = ["x"] * round(RPM * (1 - SPARE))
    else:
        prompts = ["word" * (round(TPM * (1 - SPARE)) // 4 - load.max_tokens)] * 4
    await m.provider.spend(prompts, "gpt-4o-mini")
    await m.provider.configure(latency_s=CALL_S)
    await m.provider.reset()
