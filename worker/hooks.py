"""What a module of JOB_MODULES registers besides jobs, as arq has it: cron jobs, and hooks of the worker and its runs.

@cron(hour=3, minute=0)  # arq's parameters: a number or a set of them
async def clean_up(ctx): ...

@on_startup              # and on_shutdown, on_job_start, on_job_end, after_job_end
async def open_database(ctx):
    ctx["db"] = await connect()
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

from arq import cron as arq_cron
from arq.cron import CronJob

from .registry import Coro, JobModuleError, taking_ctx

Hook: TypeAlias = Callable[[dict[Any, Any]], Coroutine[Any, Any, Any]]
C = TypeVar("C", bound=Coro)
H = TypeVar("H", bound=Hook)

# by arq's names; those of an end run in the reverse order, as whatever began first ends last
AT_A_BEGIN = ("on_startup", "on_job_start")
AT_AN_END = ("on_shutdown", "on_job_end", "after_job_end")
KINDS = (*AT_A_BEGIN, *AT_AN_END)

_crons: dict[tuple[str, str, str], CronJob] = {}  # a module that is imported again replaces its own
_hooks: dict[tuple[str, str, str], Hook] = {}


def cron(**options: Any) -> Callable[[C], C]:
    """Registers a function as a cron job and returns it unchanged. `options` are those of `arq.cron`:
    month, day, weekday, hour, minute, second, run_at_startup, unique, name, timeout, max_tries … Each time is
    run by one worker of all. Raises JobModuleError where it cannot be one."""

    def register(coroutine: C) -> C:
        _check("cron(…)", coroutine)
        name = options.get("name") or f"cron:{coroutine.__qualname__}"
        try:
            made = arq_cron(taking_ctx(coroutine), **{**options, "name": name})
        except (RuntimeError, TypeError, ValueError) as error:
            raise JobModuleError(f"@cron of {coroutine.__name__}: {error}.") from None
        _crons[coroutine.__module__, name, repr(sorted(options.items()))] = made
        return coroutine

    return register


def on_startup(hook: H, /) -> H:
    """Runs it when the worker starts, before the first job. What it puts into `ctx`, every job finds in its own."""
    return _register("on_startup", hook)


def on_shutdown(hook: H, /) -> H:
    """Runs it when the worker stops, after the last job."""
    return _register("on_shutdown", hook)


def on_job_start(hook: H, /) -> H:
    """Runs it before each run of a job, with the run's `ctx`. What it raises fails the run."""
    return _register("on_job_start", hook)


def on_job_end(hook: H, /) -> H:
    """Runs it after each run of a job, before its result is written."""
    return _register("on_job_end", hook)


def after_job_end(hook: H, /) -> H:
    """Runs it after each run of a job, when its result is written."""
    return _register("after_job_end", hook)


def registered_crons() -> list[CronJob]:
    return list(_crons.values())


def hooks_of(kind: str, own: Mapping[str, Any]) -> list[Hook]:
    """Those that were registered, and the one that a settings class has."""
    given = own.get(kind)
    return [hook for (of, _, _), hook in _hooks.items() if of == kind] + ([given] if given else [])


def together(kind: str, hooks: Sequence[Hook]) -> Hook | None:
    """One hook that runs all; at an end each runs, whatever another raises, and the first error is raised."""
    if len(hooks) < 2:
        return hooks[0] if hooks else None

    async def all_of_them(ctx: dict[Any, Any]) -> None:
        for hook in hooks:
            await hook(ctx)

    async def all_in_reverse(ctx: dict[Any, Any]) -> None:
        errors = []
        for hook in reversed(hooks):
            try:
                await hook(ctx)
            except Exception as error:
                errors.append(error)
        if errors:
            raise errors[0]

    return all_of_them if kind in AT_A_BEGIN else all_in_reverse


def _register(kind: str, hook: H) -> H:
    _check(kind, hook)
    _hooks[kind, hook.__module__, hook.__qualname__] = hook
    return hook


def _check(what: str, made: object) -> None:
    if not inspect.iscoroutinefunction(made) or not hasattr(made, "__qualname__"):
        raise JobModuleError(
            f"@{what} takes a coroutine function: write `async def {getattr(made, '__name__', 'my_function')}`."
        )
