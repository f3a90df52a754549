"""The jobs this process can run: two of our own, and every function marked with `@job`.

from worker import job

@job                                 # enqueued as queue.enqueue("summarise", 7)
async def summarise(document_id: int) -> str: ...

@job(timeout_s=30, max_tries=2)
async def translate(ctx, text): ...  # a first parameter named ctx gets arq's context

@job(cpu=True)                       # a plain function that computes: `arq worker.CpuWorkerSettings` runs it
def crunch(numbers): ...
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import wraps
from importlib import import_module
from typing import Any, Literal, TypeAlias, TypeVar, overload

from arq.worker import Function, func

Coro: TypeAlias = Callable[..., Coroutine[Any, Any, Any]]
C = TypeVar("C", bound=Coro)
F = TypeVar("F", bound=Callable[..., Any])

CTX_NAMES = (
    "ctx",
    "_ctx",
    "_",
)  # of a first parameter; the others are how arq's users name one they do not need

_registered: dict[str, Function] = {}


class JobModuleError(Exception):
    """A job, or a module that JOB_MODULES names, cannot be used. One sentence."""


@dataclass
class CpuFunction(Function):
    """A plain function that computes; worker/cpu/route.py gives it the `coroutine` that has it computed."""

    compute: Callable[..., Any]


@overload
def job(coroutine: C, /) -> C: ...
@overload
def job(
    *,
    cpu: Literal[False] = False,
    name: str | None = None,
    timeout_s: float | None = None,
    max_tries: int | None = None,
    result_ttl_s: float | None = None,
) -> Callable[[C], C]: ...
@overload
def job(
    *,
    cpu: Literal[True],
    name: str | None = None,
    timeout_s: float | None = None,
    max_tries: int | None = None,
    result_ttl_s: float | None = None,
) -> Callable[[F], F]: ...
def job(
    coroutine: Coro | None = None,
    /,
    *,
    cpu: bool = False,
    name: str | None = None,
    timeout_s: float | None = None,
    max_tries: int | None = None,
    result_ttl_s: float | None = None,
) -> Any:
    """Registers a function as a job and returns it unchanged, so it can still be called.

    With `cpu` it is a plain function that computes, and runs in a process of the CPU worker; without, a
    coroutine function that waits. `name` is what it is enqueued by (its own name by default), `timeout_s`
    how long it may run (JOB_TIMEOUT_S by default), `max_tries` how often it may start, `result_ttl_s` how
    long its result is kept (RESULT_TTL_S by default; 0 keeps none). Raises JobModuleError where two jobs
    have one name.
    """

    def register(made: Callable[..., Any]) -> Callable[..., Any]:
        if refusal := _refusal(made, cpu):
            raise JobModuleError(refusal)
        coroutine: Coro = _computed_elsewhere if cpu else taking_ctx(made)
        function = func(
            coroutine,
            name=name or made.__name__,
            timeout=timeout_s,
            max_tries=max_tries,
            keep_result=result_ttl_s,
        )
        _add(CpuFunction(**vars(function), compute=made) if cpu else function)
        return made

    return register if coroutine is None else register(coroutine)


def load(modules: Sequence[str]) -> list[Function]:
    """Imports `modules` and returns every registered job. Raises JobModuleError, naming the module."""
    for module in modules:
        try:
            import_module(module)
        except JobModuleError:
            raise
        except Exception as error:
            raise JobModuleError(
                f"JOB_MODULES names {module}, which cannot be imported: {type(error).__name__}: {error}"
            ) from error
    return list(_registered.values())


def taking_ctx(coroutine: Coro) -> Coro:
    """It as arq calls it: with the context first, which it gets where its first parameter is named so."""
    if next(iter(inspect.signature(coroutine).parameters), None) in CTX_NAMES:
        return coroutine

    @wraps(coroutine)
    async def without_ctx(_ctx: object, /, *args: object, **kwargs: object) -> object:
        return await coroutine(*args, **kwargs)

    return without_ctx


async def _computed_elsewhere(_ctx: object, /, *args: object, **kwargs: object) -> object:
    raise NotImplementedError("This worker's wiring has no place for CPU jobs.")


def _refusal(made: object, cpu: bool) -> str | None:
    """Why it cannot be a job."""
    waits = inspect.iscoroutinefunction(made)
    if cpu and (waits or not inspect.isfunction(made)):
        return f"@job(cpu=True) takes a plain function: write `def {_called(made)}`."
    if not cpu and (not waits or not hasattr(made, "__name__")):
        return (
            f"@job takes a coroutine function: write `async def {_called(made)}`, "
            "or mark a plain one that computes with `@job(cpu=True)`."
        )
    return None


def _called(thing: object) -> str:
    return getattr(thing, "__name__", None) or "my_job(…)"


def _add(function: Function) -> None:
    known = _registered.get(function.name)
    if known is not None and _origin(known) != _origin(function):
        raise JobModuleError(
            f"Two jobs are named {function.name!r}, in {_origin(known)[0]} and {_origin(function)[0]}: "
            "give one of them another name with @job(name=…)."
        )
    _registered[function.name] = function


def _origin(function: Function) -> tuple[str, str]:
    made = inspect.unwrap(function.compute if isinstance(function, CpuFunction) else function.coroutine)
    return made.__module__, made.__qualname__
