"""Is somebody working, and do they stop in time?"""

from __future__ import annotations

from .finding import Finding

HEROKU_S = 30  # from TERM to KILL
CLOSING_S = 5  # what a worker needs after its drain to put back what it did not finish


def check_workers(*, alive: bool, private: bool) -> Finding:
    """Whether a worker has reported its health of late."""
    if alive:
        return Finding("workers", "ok", "alive")
    if private:
        return Finding(
            "workers", "ok", "none, as it is a private server: `run`, `ask` and `up` bring their own"
        )
    return Finding("workers", "warn", "none has reported", "Start one with `arq worker.WorkerSettings`.")


def check_cpu_workers(*, alive: bool, jobs: bool) -> Finding:
    """Whether CPU jobs, if there are any, have a worker."""
    if alive:
        return Finding("cpu workers", "ok", "alive")
    if not jobs:
        return Finding("cpu workers", "ok", "none, and no CPU job waits for one")
    return Finding(
        "cpu workers",
        "warn",
        "none has reported, and CPU jobs wait",
        "Start one with `arq worker.CpuWorkerSettings`.",
    )


def check_drain(drain_s: float) -> Finding:
    """The time that calls in flight get when a worker is told to stop."""
    found = f"{drain_s:g} s for calls in flight when a worker is told to stop"
    if drain_s + CLOSING_S <= HEROKU_S:
        return Finding("drain", "ok", found)
    return Finding(
        "drain",
        "warn",
        f"{found}; Heroku kills after {HEROKU_S} s",
        f"Set DRAIN_S to {HEROKU_S - CLOSING_S} at most where a platform kills after {HEROKU_S} s.",
    )
