"""An account that is empty, a key that is revoked, a model that is gone: the run stops, and goes on as it was."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from client.errors import (
    AuthenticationFailed,
    BadRequest,
    JobError,
    ModelNotFound,
    PermissionRefused,
    ProviderNotConfigured,
    QuotaExhausted,
    ServerError,
)
from client.requests import chat_request
from client.wire.schemas import Completion
from promptmill.cli.run.feed import LineJob
from promptmill.cli.run.halt import HANDFUL, Refusals, RefusedInARow
from promptmill.cli.run.items import Item
from promptmill.cli.run.writer import LineOutcome
from tests.unit.test_run_fake import Request, Server, asked, complete, options, read_lines, reply, texts

KINDS = [AuthenticationFailed, ModelNotFound, PermissionRefused, ProviderNotConfigured, QuotaExhausted]


def write_numbers(path: Path, count: int) -> None:
    (path / "in.jsonl").write_text("".join(json.dumps({"prompt": str(n)}) + "\n" for n in range(count)))


class Account:
    """A provider that answers the first `good` calls, and from then on as `refusal` says."""

    def __init__(self, good: int, refusal: JobError) -> None:
        self.left = good
        self._refusal = refusal

    def __call__(self, request: Request) -> Any:
        self.left -= 1
        return reply(request) if self.left >= 0 else self._refusal


@pytest.mark.parametrize("kind", KINDS)
async def test_a_run_stops_after_a_handful_and_the_same_command_goes_on(
    tmp_path: Path, kind: type[JobError]
) -> None:
    write_numbers(tmp_path, 2_000)
    account = Account(20, kind("No money. Top up the account."))
    server = Server(account)
    opts = options(tmp_path, window=20)
    summary = await complete(opts, server)
    assert (summary.done, summary.failed, summary.not_sent, summary.exit_code) == (20, 0, 1_980, 1)
    assert len(server.paid) <= 20 + HANDFUL + 20  # and those that were in flight
    assert summary.problem == (
        "Stopped, as every further line would be refused alike: No money. Top up the account. "
        "Then run the same command again: it goes on with what is left."
    )
    assert "1,980 not sent" in summary.lines()[0]
    assert read_lines(tmp_path / "out.errors.jsonl") == []
    assert (server.requests, server.results) == ({}, {})  # nothing is left that anybody would do or read

    account.left = 10_000
    again = await complete(opts, server)
    assert (again.done, again.failed, again.skipped, again.exit_code) == (1_980, 0, 20, 0)
    assert texts(tmp_path) == sorted(map(str, range(2_000)))
    assert not (tmp_path / "out.jsonl.run").exists()


async def test_it_may_happen_again_and_again(tmp_path: Path) -> None:
    write_numbers(tmp_path, 100)
    account = Account(0, QuotaExhausted("No money."))
    server = Server(account)
    for _ in range(4):
        account.left = 30
        summary = await complete(options(tmp_path, window=8), server)
    assert (summary.exit_code, summary.not_sent) == (0, 0)
    assert texts(tmp_path) == sorted(map(str, range(100)))
    assert len(server.paid) <= 100 + 3 * (HANDFUL + 8)


@pytest.mark.parametrize("kind", [*KINDS, BadRequest])
@pytest.mark.parametrize("every", [2, 3, 50])
async def test_single_refusals_among_good_answers_stop_nothing(
    tmp_path: Path, kind: type[JobError], every: int
) -> None:
    write_numbers(tmp_path, 200)
    server = Server(lambda request: kind("No.") if int(asked(request)) % every == 1 else reply(request))
    summary = await complete(options(tmp_path), server)
    refused = sum(n % every == 1 for n in range(200))
    assert (summary.done, summary.failed, summary.not_sent, summary.problem) == (
        200 - refused,
        refused,
        0,
        None,
    )
    assert len(read_lines(tmp_path / "out.errors.jsonl")) == refused


async def test_too_few_refusals_to_stop_are_failures(tmp_path: Path) -> None:
    write_numbers(tmp_path, HANDFUL - 1)
    summary = await complete(options(tmp_path), Server(Account(0, AuthenticationFailed("Wrong key."))))
    assert (summary.failed, summary.not_sent, summary.problem) == (HANDFUL - 1, 0, None)
    assert len(read_lines(tmp_path / "out.errors.jsonl")) == HANDFUL - 1


async def test_failures_of_another_kind_neither_stop_a_run_nor_hide_that_the_account_is_empty(
    tmp_path: Path,
) -> None:
    write_numbers(tmp_path, 100)
    errors = [ServerError("Down."), QuotaExhausted("No money.")]
    summary = await complete(
        options(tmp_path, window=4), Server(lambda request: errors[int(asked(request)) % 2])
    )
    assert summary.failed < 20
    assert summary.problem is not None
    write_numbers(tmp_path, 30)
    all_down = await complete(
        options(tmp_path, output=tmp_path / "other.jsonl"), Server(lambda _: ServerError("Down."))
    )
    assert (all_down.failed, all_down.problem) == (30, None)


@pytest.mark.parametrize("seed", range(20))
def test_refusals_that_overtake_slow_answers_are_no_row(seed: int) -> None:
    """The ends of lines in any order: a row is one of lines, not of arrivals, and everything has its end once."""
    dice = random.Random(seed)
    outcomes = [_outcome(n, QuotaExhausted("No.") if n % 3 else reply_to(n)) for n in range(300)]
    refusals, written = Refusals(), []
    refusals.sent(outcome.line_job for outcome in outcomes)
    order = sorted(
        outcomes, key=lambda o: o.line_job.item.line + dice.uniform(0, 30) * (o.line_job.item.line % 3 == 0)
    )
    for outcome in order:
        written += refusals.sift([outcome])
    assert refusals.reason is None
    written += refusals.release()
    assert sorted(o.line_job.item.line for o in written) == [*range(300)]


@pytest.mark.parametrize("seed", range(20))
def test_a_row_is_found_however_its_ends_arrive(seed: int) -> None:
    """Among failures that tell nothing, and behind a line that never ends."""
    errors: list[JobError] = [ServerError("Down."), QuotaExhausted("No.")]
    outcomes = [_outcome(n, errors[n % 2]) for n in range(2 * HANDFUL)]
    refusals = Refusals()
    refusals.sent(outcome.line_job for outcome in [_outcome(99, errors[0]), *outcomes])
    random.Random(seed).shuffle(outcomes)
    for outcome in outcomes:
        refusals.sift([outcome])
    with pytest.raises(RefusedInARow, match="No"):
        refusals.check()


def test_a_row_behind_a_slow_answer_is_found() -> None:
    outcomes = [_outcome(n, QuotaExhausted("No.")) for n in range(50)]
    refusals = Refusals()
    refusals.sent(outcome.line_job for outcome in outcomes)
    passed = [refusals.sift([outcome]) for outcome in reversed(outcomes[1:])]  # the first line never ends
    assert not any(passed)
    assert refusals.reason == "No."
    with pytest.raises(RefusedInARow, match="No"):
        refusals.check()
    assert len(refusals.release()) == 49


def reply_to(n: int) -> Completion:
    answer = reply(chat_request(str(n)))
    assert isinstance(answer, Completion)
    return answer


def _outcome(n: int, result: Completion | JobError) -> LineOutcome:
    return LineOutcome(LineJob(Item(n, str(n), "", {}, is_batch=False, size_bytes=1), f"job{n}", 0), result)


async def test_a_rate_is_told_of_answers_only(tmp_path: Path) -> None:
    write_numbers(tmp_path, 3)
    summary = await complete(options(tmp_path), Server(lambda _: BadRequest("No.")))
    assert summary.requests_per_min is None
    assert "requests/min" not in "\n".join(summary.lines())
