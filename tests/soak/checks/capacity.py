"""How much at once, how soon after a kill, and how much when all is well again."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from math import inf
from statistics import median

from tests.soak.plan import BACK_WITHIN_S, BACKLOG, CONCURRENCY, LEASE_S, TENANT_CONCURRENCY
from tests.soak.record import Call, Record

from .finding import Finding, found
from .kills import SLACK_S, called_again

HUNG_UP_S = 0.15  # a slot may be given on before the provider has noticed that its caller hung up
ENOUGH = 0.8  # of the seconds of the calm


def limits(record: Record) -> Finding:
    """No limit is exceeded by the calls of living workers.

    A worker that was stopped, or without Redis, for longer than a lease is sure to last has calls at the provider
    whose slots others have by then: from the pause on they are a dead worker's, and not counted.
    """
    groups: dict[tuple[str, int], list[Call]] = defaultdict(list)
    for call in record.calls:
        job = record.jobs[call.job_id]
        groups[call.model, CONCURRENCY[call.model]].append(call)
        if job.tenant is not None:
            groups[f"tenant:{job.tenant}", TENANT_CONCURRENCY].append(call)
        if job.conversation is not None:
            groups[f"conversation:{job.conversation}", 1].append(call)
    peaks = {key: _peak(record, calls) for key, calls in groups.items()}
    wrong = [
        f"{key} had {peak} at once, {at_s - record.started_s:.1f} s after the start, where {limit} may be"
        for (key, limit), (peak, at_s) in peaks.items()
        if peak > limit
    ]
    told = ", ".join(
        f"{model} {peaks.get((model, most), (0, 0))[0]} of {most}" for model, most in CONCURRENCY.items()
    )
    return found("limits", wrong, f"{len(peaks)} limits, peaks {told}")


def _peak(
    record: Record, calls: Iterable[Call], since_s: float = -inf, until_s: float = inf
) -> tuple[int, float]:
    """The most calls of living workers at once in that time, and when."""
    changes: list[tuple[float, int]] = []
    for call in calls:
        given_on_s = call.ended_s - (HUNG_UP_S if call.ending == "hung up" else 0)
        began_s, ended_s = max(call.began_s, since_s), min(given_on_s, record.dead_from_s(call), until_s)
        if ended_s > began_s:
            changes += [(began_s, 1), (ended_s, -1)]
    open_, peak, at_s = 0, 0, record.started_s
    for moment_s, change in sorted(changes):
        open_ += change
        if open_ > peak:
            peak, at_s = open_, moment_s
    return peak, at_s


def recovery(record: Record) -> Finding:
    """Half of what a killed worker was calling is called again within the lease and 2 s, at any backlog."""
    waits: dict[str, list[float]] = {"with a backlog": [], "elsewhere": []}
    for job_id, killed_s, again_s in called_again(record):
        where = "with a backlog" if record.jobs[job_id].model == BACKLOG else "elsewhere"
        waits[where].append(again_s - killed_s)
    wrong, told = [], []
    for where, found_s in waits.items():
        if not found_s:
            continue
        told.append(f"{len(found_s)} {where}, median {median(found_s):.1f} s, worst {max(found_s):.1f} s")
        if median(found_s) > LEASE_S + SLACK_S:
            wrong.append(f"{median(found_s):.1f} s {where}, with a lease of {LEASE_S:g} s")
    return found("recovery", wrong, f"jobs of killed workers were called again: {', '.join(told) or 'none'}")


def calm(record: Record) -> Finding:
    """Once nothing breaks any more, the lane with a backlog is served up to its limit within seconds.

    As many as its limit are in flight at some moment of nearly every second: a machine that is busy serves fewer calls
    a second, but no fewer at once.
    """
    began_s, ended_s = record.calm_s[0] + BACK_WITHIN_S, record.calm_s[1]
    limit, seconds = CONCURRENCY[BACKLOG], int(ended_s - began_s)
    calls = [call for call in record.calls if call.model == BACKLOG]
    peaks = [_peak(record, calls, began_s + n, began_s + n + 1)[0] for n in range(seconds)]
    full = sum(peak >= limit for peak in peaks)
    evidence = (
        f"{limit} calls of {BACKLOG} were in flight in {full} of the last {seconds} seconds of the calm"
    )
    return Finding(
        "calm", 0 < ENOUGH * seconds <= full, f"{evidence}, and at most {', '.join(map(str, peaks))}."
    )
