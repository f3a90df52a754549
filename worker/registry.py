"""The jobs this process can run: two of our own, and every coroutine marked with `@job`.

from worker import job

@job                                 # enqueued as queue.enqueue("summarise", 7)
async def summarise(document_id: int) -> str: ...

@job(timeout_s=30, max_tries=2)
async def translate(ctx, text): ...  # a first parameter named ctx gets arq's context
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Sequence
from functools import wraps
from importlib import import_module
from typing import Any, TypeVar, overload

from arq.worker import Function, func

Coro = Callable[..., Coroutine[Any, Any, Any]]
C = TypeVar("C", bound=Coro)

_registered: dict[str, Function] = {}


class JobModuleError(Exception):
    """A job, or a module that JOB_MODULES names, cannot be used. One sentence."""


@overload
def job(coroutine: C, /) -> C: ...
@overload
def job(
    *,
    name: str | None = None,
    timeout_s: float | None = None,
    max_tries: int | None = None,
    result_ttl_s: float | None = None,
) -> Callable[[C], C]: ...
def job(
    coroutine: Coro | None = None,
    /,
    *,
    name: str | None = None,
    timeout_s: float | None = None,
    max_tries: int | None = None,
    result_ttl_s: float | None = None,
) -> Any:
    """Registers a coroutine function as a job and returns it unchanged, so it can still be called.

    `name` is what it is enqueued by (its own name by default), `timeout_s` how long it may run
    (JOB_TIMEOUT_S by default), `max_tries` how often it may start, `result_ttl_s` how long its result
    is kept (RESULT_TTL_S by default; 0 keeps none). Raises JobModuleError where two jobs have one name.
    """

    def register(coroutine: Coro) -> Coro:
        if not inspect.iscoroutinefunction(coroutine) or not hasattr(coroutine, "__name__"):
            raise JobModuleError(f"@job takes a coroutine function: write `async def {_called(coroutine)}`.")
        function = func(
            _taking_ctx(coroutine),
            name=name or coroutine.__name__,
            timeout=timeout_s,
            max_tries=max_tries,
            keep_result=result_ttl_s,
        )
        _add(function)
        return coroutine

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


def _taking_ctx(coroutine: Coro) -> Coro:
    if next(iter(inspect.signature(coroutine).parameters), None) == "ctx":
        return coroutine

    @wraps(coroutine)
    async def without_ctx(_ctx: dict[str, Any], /, *args: Any, **kwargs: Any) -> Any:
        return await coroutine(*args, **kwargs)

    return without_ctx


def _called(thing: Any) -> str:
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
    coroutine: Any = inspect.unwrap(function.coroutine)
    return coroutine.__module__, coroutine.__qualname__
