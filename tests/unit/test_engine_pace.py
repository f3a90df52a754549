"""Runs begin a few in each round of the event loop, so that what goes on already has its turn."""

from __future__ import annotations

import asyncio

from worker.engine.pace import LEAST, MOST, ROUND_S, Pace


class Clock:
    """Goes on only where it is told to."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


async def begin(count: int, work_s: float = 0.0) -> list[int]:
    """How many of `count` runs, of which each keeps the loop busy so long, began in each round of it."""
    clock = Clock()
    pace = Pace(clock)
    begun, rounds = 0, [0]

    async def one() -> None:
        nonlocal begun
        await pace.turn()
        begun += 1
        rounds[-1] += 1
        clock.now_s += work_s

    tasks = [asyncio.create_task(one()) for _ in range(count)]
    while begun < count:
        await asyncio.sleep(0)
        rounds.append(0)
    await asyncio.gather(*tasks)
    return [number for number in rounds if number]


async def test_few_begin_at_once_and_ever_more_while_that_is_quick() -> None:
    rounds = await begin(3 * MOST)
    assert rounds[:3] == [LEAST, 2 * LEAST, 4 * LEAST]
    assert max(rounds) == MOST


async def test_few_begin_in_each_round_while_rounds_are_long() -> None:
    assert set(await begin(10 * LEAST, work_s=ROUND_S)) == {LEAST}


async def test_one_alone_begins_at_once() -> None:
    its = Pace()
    for _ in range(3):
        turn = asyncio.create_task(its.turn())
        await asyncio.sleep(0)
        assert turn.done()


async def test_turns_are_taken_in_the_order_in_which_they_were_asked_for() -> None:
    its, begun = Pace(), []

    async def one(number: int) -> None:
        await its.turn()
        begun.append(number)

    await asyncio.gather(*(one(number) for number in range(100)))
    assert begun == list(range(100))


async def test_who_is_cancelled_while_waiting_takes_no_turn_from_others() -> None:
    its = Pace()
    tasks = [asyncio.create_task(its.turn()) for _ in range(20 * LEAST)]
    await asyncio.sleep(0)
    for task in tasks[LEAST:-1]:
        task.cancel()
    await asyncio.wait_for(tasks[-1], 1)
    done = await asyncio.gather(*tasks, return_exceptions=True)
    assert sum(isinstance(each, asyncio.CancelledError) for each in done) == 19 * LEAST - 1
