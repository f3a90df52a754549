"""The totals of what calls cost: written by the worker's book, read by the client and the command."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from redis.exceptions import RedisError

from client import Attempt, Cost, InvalidRequest, Queue, SyncQueue, Usage
from promptmill.cli.main import promptmill
from tests.conftest import KEYS, AnyRedis, Server, wait_until
from worker.jobs.totals import Totals, tenant_of

TODAY = datetime.now(UTC).date()
WHOLE = Usage(
    input_tokens=100, output_tokens=10, cached_input_tokens=40, cache_write_tokens=20, reasoning_tokens=5
)


def attempt(model: str = "openai/gpt-4o", **fields: Any) -> Attempt:
    told = {"usage": WHOLE, "cost_usd": 0.25} | fields
    return Attempt(number=1, model=model, started_at=datetime.now(UTC), duration_s=1, **told)


def add(book: Totals, made: Attempt, tenant: str = "-") -> None:
    book.end(book.begin(made.model, tenant), made)


async def write(queue: Queue, *rows: tuple[Attempt, str]) -> None:
    book = Totals(queue.session.redis)
    for row in rows:
        add(book, *row)
    await book.close()


async def test_what_an_attempt_told_is_added_up_by_model_and_tenant(queue: Queue) -> None:
    await write(queue, (attempt(), "acme"), (attempt(), "acme"), (attempt("gemini/g"), "-"))
    _, acme = await queue.costs(by=("tenant", "model"))
    assert acme == Cost(
        model="openai/gpt-4o",
        tenant="acme",
        calls=2,
        input_tokens=200,
        cached_input_tokens=80,
        cache_write_tokens=40,
        output_tokens=20,
        reasoning_tokens=10,
        usd=0.5,
    )
    assert [(total.model, total.usd) for total in await queue.costs()] == [
        ("gemini/g", 0.25),
        ("openai/gpt-4o", 0.5),
    ]
    (all_,) = await queue.costs(by=())
    assert (all_.model, all_.calls, all_.usd) == (None, 3, 0.75)
    assert await queue.session.redis.ttl(KEYS.cost(TODAY.isoformat())) > 390 * 86_400


async def test_what_is_not_known_is_counted_and_never_taken_for_nothing(queue: Queue) -> None:
    free = attempt(usage=None, cost_usd=0.0, error="RateLimited")
    unknown = attempt(usage=None, cost_usd=None, error="CancelledError")
    half = attempt(usage=Usage(input_tokens=7), cost_usd=None)
    unpriced = attempt(cost_usd=None)
    await write(queue, (unknown, "-"), (half, "-"))
    (total,) = await queue.costs()
    assert (total.calls, total.errors, total.unknown_calls) == (2, 1, 2)
    assert (total.usd, total.input_tokens) == (None, 7)
    await write(queue, (free, "-"), (unpriced, "-"))
    (total,) = await queue.costs()
    assert (total.calls, total.errors, total.unknown_calls, total.unpriced_calls) == (4, 2, 2, 1)
    assert total.usd == 0


async def test_totals_are_written_within_a_moment_and_all_in_one_round_trip(queue: Queue) -> None:
    book = Totals(queue.session.redis)
    for number in range(500):
        add(book, attempt(f"openai/m{number % 5}"), f"t{number % 4}")
    assert not await queue.costs()

    async def written() -> bool:
        return sum(total.calls for total in await queue.costs()) == 500

    before = await scripts_run(queue)
    await wait_until(written, description="the totals are written", timeout_s=1)
    assert await scripts_run(queue) - before <= 2  # the server may not know the script yet
    await book.close()


async def scripts_run(queue: Queue) -> int:
    return int((await queue.session.redis.info("commandstats")).get("cmdstat_evalsha", {"calls": 0})["calls"])


async def test_a_call_that_never_ends_is_counted_with_unknown_use(queue: Queue) -> None:
    book = Totals(queue.session.redis)
    open_, refused = book.begin("openai/gpt-4o", "acme"), book.begin("openai/gpt-4o", "acme")
    await book.flush()
    (total,) = await queue.costs()
    assert (total.calls, total.unknown_calls, total.errors, total.usd) == (2, 2, 0, None)
    book.end(refused, None)
    await book.flush()
    (total,) = await queue.costs()
    assert (total.calls, total.unknown_calls) == (
        1,
        1,
    )  # all that is left of it where its worker is killed now
    book.end(open_, attempt())
    never_sent = book.begin("gemini/g")
    await book.flush()
    book.end(never_sent, None)
    await book.close()
    (total,) = await queue.costs()  # and nothing of gemini
    assert (total.calls, total.unknown_calls, total.usd) == (1, 0, 0.25)


async def test_a_call_is_of_the_day_on_which_it_began(queue: Queue) -> None:
    book = Totals(queue.session.redis)
    yesterday = (TODAY - timedelta(days=1)).isoformat()
    book.end(book.begin("openai/gpt-4o")._replace(day=yesterday), attempt())
    await book.close()
    redis: AnyRedis = queue.session.redis
    assert await redis.hget(KEYS.cost(yesterday), "openai/gpt-4o|-|usd") == b"0.25"


async def test_a_writing_whose_reply_was_lost_counts_once(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    book = Totals(queue.session.redis)
    arrived = book._count

    async def without_a_reply(args: Any) -> None:
        await arrived(args=args)
        raise ConnectionError("the reply is lost")

    add(book, attempt())
    monkeypatch.setattr(book, "_count", without_a_reply)
    for _ in range(2):
        with pytest.raises(ConnectionError):
            await book.flush()
        add(book, attempt())
    monkeypatch.setattr(book, "_count", arrived)
    await book.close()
    (total,) = await queue.costs()
    assert (total.calls, total.usd) == (3, 0.75)


async def test_a_number_that_cannot_be_added_takes_no_other_along(queue: Queue) -> None:
    book = Totals(queue.session.redis)
    add(book, attempt(usage=Usage(input_tokens=10**30, output_tokens=7), cost_usd=float("inf")))
    add(book, attempt("gemini/g"))
    await book.flush()
    add(book, attempt("gemini/g"))
    await book.close()
    gemini, openai = await queue.costs()
    assert (gemini.calls, gemini.usd) == (2, 0.5)
    assert (openai.calls, openai.output_tokens, openai.input_tokens, openai.usd) == (1, 7, 0, None)


async def test_totals_are_kept_while_redis_is_away(own_server: Server) -> None:
    async with Queue.from_url(own_server.url) as queue:
        await queue.ping()
        book = Totals(queue.session.redis)
        own_server.stop()
        add(book, attempt())
        with pytest.raises(RedisError):
            await asyncio.wait_for(book.flush(), 10)
        add(book, attempt())
        own_server.start()
        await book.close()
        (total,) = await queue.costs()
        assert (total.calls, total.usd) == (2, 0.5)


async def test_days_are_told_apart_and_a_time_without_calls_is_empty(queue: Queue) -> None:
    redis: AnyRedis = queue.session.redis
    for days, calls in ((0, 1), (3, 2), (9, 4)):
        key = KEYS.cost((TODAY - timedelta(days=days)).isoformat())
        await redis.hset(key, "openai/a|b|-|calls", str(calls))  # a name of another time
        await redis.expire(key, 60)
    week = await queue.costs(TODAY - timedelta(days=6), by=("day",))
    assert [(total.day, total.calls) for total in week] == [(TODAY - timedelta(days=3), 2), (TODAY, 1)]
    (old,) = await queue.costs(date(2000, 1, 1), TODAY - timedelta(days=1))
    assert (old.model, old.calls) == ("openai/a|b", 6)
    assert await queue.costs(TODAY - timedelta(days=2), TODAY - timedelta(days=1)) == []


async def test_what_cannot_be_asked_is_refused(queue: Queue) -> None:
    with pytest.raises(InvalidRequest, match="by model, tenant, day, not by 'user'"):
        await queue.costs(by=("user",))  # type: ignore[arg-type]
    with pytest.raises(InvalidRequest, match="no day from"):
        await queue.costs(TODAY, TODAY - timedelta(days=1))


def test_the_tenant_is_a_part_of_the_lane() -> None:
    assert tenant_of("openai/gpt-4o|tenant:acme|conversation:1") == "acme"
    assert tenant_of("openai/gpt-4o|bulk") == tenant_of("") == "-"


def invoke(*args: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(promptmill, args)
    return result.exit_code, result.stdout, result.stderr


def test_the_command_prints_a_table_or_json(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REDIS_URL", server.url)
    assert invoke("cost") == (0, "", "No calls were made in that time.\n")
    with SyncQueue.from_url(server.url) as queue:
        rows = (attempt(), "acme"), (attempt("gemini/g", usage=None, cost_usd=None, error="X"), "-")
        queue.call(lambda inner: write(inner, *rows))
        assert len(queue.costs()) == 2

    code, out, _ = invoke("cost", "--by", "model,tenant", "--since", "7d")
    head, gemini, openai, total = out.splitlines()
    assert code == 0
    assert head.split()[:4] == ["MODEL", "TENANT", "CALLS", "ERRORS"]
    assert gemini.split() == ["gemini/g", "-", "1", "1", "0", "0", "0", "0", "-", "1", "0"]
    assert openai.split() == ["openai/gpt-4o", "acme", "1", "0", "100", "40", "10", "5", "0.2500", "0", "0"]
    assert total.split() == ["total", "2", "1", "100", "40", "10", "5", "0.2500", "1", "0"]
    assert len({len(line) for line in (head, gemini, openai, total)}) == 1
    (one, two) = json.loads(invoke("cost", "--by", "day,model", "--since", TODAY.isoformat(), "--json")[1])
    assert (one["day"], one["usd"], two["usd"]) == (TODAY.isoformat(), None, 0.25)


@pytest.mark.parametrize("args", [("--since", "week"), ("--by", "user"), ("--by", "model,,day")])
def test_wrong_words_are_exit_code_2(args: tuple[str, ...]) -> None:
    code, out, err = invoke("cost", *args)
    assert (code, out) == (2, "")
    assert "is neither a number" in err or "is not made of model, tenant, day" in err
