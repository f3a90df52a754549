"""`@cron` and the hooks without a worker: what they register, in which order they run, what they refuse."""

from __future__ import annotations

from typing import Any

import pytest

from worker import JobModuleError, cron, hooks, on_job_end, on_job_start


@pytest.fixture(autouse=True)
def _nothing_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hooks, "_crons", {})
    monkeypatch.setattr(hooks, "_hooks", {})


async def tick() -> str:
    return "ticked"


async def test_a_cron_job_has_arqs_options_and_stays_what_it_was() -> None:
    assert cron(hour={3, 4}, minute=0, max_tries=2, unique=False)(tick) is tick
    (made,) = hooks.registered_crons()
    assert (made.name, made.hour, made.minute, made.max_tries, made.unique) == (
        "cron:tick",
        {3, 4},
        0,
        2,
        False,
    )
    assert await made.coroutine({}) == "ticked"


def test_one_function_may_have_two_times_and_a_module_that_is_imported_again_replaces_its_own() -> None:
    for hour in (3, 4, 3):
        cron(hour=hour)(tick)
    assert [made.hour for made in hooks.registered_crons()] == [3, 4]


def test_a_parameter_that_arq_does_not_have_is_refused() -> None:
    with pytest.raises(JobModuleError, match=r"^@cron of tick: .*hours"):
        cron(hours=3)(tick)


@pytest.mark.parametrize("thing", [len, "tick", lambda ctx: None])
def test_what_is_no_coroutine_function_is_refused(thing: Any) -> None:
    with pytest.raises(JobModuleError, match=r"^@cron\(…\) takes a coroutine function: write `async def "):
        cron(hour=1)(thing)
    with pytest.raises(JobModuleError, match=r"^@on_job_start takes a coroutine function"):
        on_job_start(thing)


async def test_hooks_of_a_begin_run_in_order_and_those_of_an_end_in_reverse_whatever_one_raises() -> None:
    ran: list[str] = []

    def hook(name: str, *, fails: bool = False) -> Any:
        async def run(ctx: dict[Any, Any]) -> None:
            ran.append(name)
            if fails:
                raise LookupError(name)

        run.__qualname__ = name
        return run

    for kind, register in (("on_job_start", on_job_start), ("on_job_end", on_job_end)):
        for name in ("a", "b"):
            register(hook(name, fails=kind == "on_job_end"))
    start = hooks.together("on_job_start", hooks.hooks_of("on_job_start", {"on_job_start": hook("c")}))
    end = hooks.together("on_job_end", hooks.hooks_of("on_job_end", {"on_job_end": hook("c")}))
    assert start
    assert end
    await start({})
    with pytest.raises(LookupError, match="b"):
        await end({})
    assert ran == ["a", "b", "c", "c", "b", "a"]
    assert hooks.together("on_startup", []) is None
