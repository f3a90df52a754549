"""An embedding of many parts: side by side, each with its own tries, done once."""

from __future__ import annotations

import asyncio
import tracemalloc
from binascii import b2a_base64
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, NoReturn

import pytest
from arq import Retry

from client import errors
from client.wire.keys import KEYS
from client.wire.schemas import Embeddings, EmbedRequest, Usage
from promptmill.dialects import EmbedAnswer
from tests.conftest import AnyRedis, forever, wait_until
from tests.unit.given_llm import Runs, ScriptedLLM, redis
from worker.jobs import embed
from worker.jobs import embed_run as parts
from worker.jobs.embed_fault import locate
from worker.jobs.embed_split import Part
from worker.signals import Reroute, Throttled

__all__ = ["redis"]

REQUEST = {"texts": ["a", "b", "c", "d"], "texts_per_call": 1}
ONE = Usage(input_tokens=1, output_tokens=0)
DOWN = errors.ServerError("down", status=500)


class TextLLM(ScriptedLLM):
    """Answers each text with its number in the alphabet, unless it is told to fail for it."""

    def __init__(
        self,
        failures: Mapping[str, Sequence[BaseException]] | Iterable[tuple[str, Sequence[BaseException]]] = (),
        **fields: Any,
    ) -> None:
        super().__init__(**fields)
        self.failures = {text: list(errors_) for text, errors_ in dict(failures).items()}
        self.asked: list[str] = []
        self.running, self.peak = 0, 0

    async def embed(self, request: EmbedRequest, *, call_id: str) -> EmbedAnswer:
        self.asked.append("".join(request.texts))
        self.call_ids.append(call_id)
        self.running += 1
        self.peak = max(self.peak, self.running)
        try:
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        finally:
            self.running -= 1
        for text in request.texts:
            if self.failures.get(text):
                raise self.failures[text].pop(0)
        return EmbedAnswer([[float(ord(text)), 1.0] for text in request.texts], "e", ONE)


class HeavyLLM(TextLLM):
    def __init__(self, size_bytes: int) -> None:
        super().__init__()
        self.size_bytes = size_bytes

    async def embed(self, request: EmbedRequest, *, call_id: str) -> EmbedAnswer:
        await super().embed(request, call_id=call_id)
        return EmbedAnswer([b2a_base64(bytes(self.size_bytes), newline=False).decode()], "e", ONE)


class Slots:
    """The limits of the fleet, with that many slots besides the job's own."""

    def __init__(self, free: int) -> None:
        self.free = asyncio.Semaphore(free)
        self.asked: list[tuple[str, ...]] = []
        self.refusals: list[float] = []

    @asynccontextmanager
    async def slot(self, *limit_keys: str) -> AsyncIterator[Slots]:
        self.asked.append(limit_keys)
        async with self.free:
            yield self

    def settle(self, *, tokens: int, usd: float) -> None:
        assert (tokens, usd) == (0, 0.0)

    def refused(self, retry_after_s: float) -> None:
        self.refusals.append(retry_after_s)


class RunsWithSlots(Runs):
    def __init__(self, redis: AnyRedis) -> None:
        super().__init__(redis)
        self.limits = Slots(2)

    async def __call__(  # type: ignore[override]  # it runs `embed` only
        self, llm: ScriptedLLM, request: Any = REQUEST
    ) -> Any:
        return await super().__call__(llm, embed, request)


@pytest.fixture
def run(redis: AnyRedis) -> RunsWithSlots:
    return RunsWithSlots(redis)


def letters(result: Embeddings) -> str:
    return "".join(chr(int(vector[0])) for vector in result.vectors)


async def test_a_part_takes_no_memory_any_more_once_it_is_in_the_answer(run: RunsWithSlots) -> None:
    size_bytes = 3 * 2**20
    await run(TextLLM())  # loads the prices, which takes long while memory is traced
    tracemalloc.start()
    try:
        result = await run(HeavyLLM(size_bytes))
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (len(result.packed), result.packed.dimensions) == (4, size_bytes // 4)
    assert peak_bytes < 2 * 4 * size_bytes  # all parts are 1, the base64 of the answer 1.33


async def test_parts_are_asked_for_side_by_side_and_keep_their_order(
    run: RunsWithSlots, redis: AnyRedis
) -> None:
    llm = TextLLM()
    result = await run(llm)
    assert letters(result) == "abcd"
    assert llm.peak == 3  # the job's own slot, and two
    assert run.limits.asked[0] == ("openai/text-embedding-3-small", "openai")
    assert (result.usage.input_tokens, result.usage.output_tokens) == (4, 0)
    assert [attempt.number for attempt in result.attempts] == [1, 2, 3, 4]
    assert sorted(attempt.part for attempt in result.attempts) == [0, 1, 2, 3]
    assert (run.ctx.meter.tokens, run.ctx.meter.answered) == (4, True)
    assert not await redis.exists(KEYS.parts("j1"))


async def test_without_a_free_slot_the_jobs_own_carries_all_parts(run: RunsWithSlots) -> None:
    run.limits = Slots(0)
    llm = TextLLM()
    assert letters(await run(llm)) == "abcd"
    assert llm.peak == 1


async def test_only_the_part_that_failed_is_asked_for_again(run: RunsWithSlots, redis: AnyRedis) -> None:
    llm = TextLLM({"c": [DOWN]})
    with pytest.raises(Retry):
        await run(llm)
    result = await run(llm)
    assert letters(result) == "abcd"
    assert sorted(llm.asked) == ["a", "b", "c", "c", "d"]
    assert [attempt.error for attempt in result.attempts].count("ServerError") == 1
    assert llm.call_ids[-1] == "j1:5"
    assert result.usage.input_tokens == 4


async def test_each_part_has_its_own_tries(run: RunsWithSlots) -> None:
    llm = TextLLM({"a": [DOWN], "b": [DOWN], "c": [DOWN]}, max_tries=2)
    with pytest.raises(Retry):
        await run(llm)
    assert letters(await run(llm)) == "abcd"


async def test_a_part_that_has_used_its_tries_fails_the_job(run: RunsWithSlots, redis: AnyRedis) -> None:
    llm = TextLLM({"a": [DOWN, DOWN]}, max_tries=2)
    with pytest.raises(Retry):
        await run(llm)
    with pytest.raises(errors.ServerError) as raised:
        await run(llm)
    assert raised.value.details["attempts"] == 5
    run.has_run = False  # somebody revives the dead letter
    assert letters(await run(llm)) == "abcd"
    assert sorted(llm.asked) == ["a", "a", "a", "b", "c", "d"]


async def test_a_refusal_stops_the_run_and_uses_no_try(run: RunsWithSlots) -> None:
    llm = TextLLM({"a": [errors.RateLimited("slow", status=429)]})
    run.limits = Slots(0)
    with pytest.raises(Throttled):
        await run(llm)
    assert llm.asked == ["a"]
    assert run.ctx.meter.refused
    assert letters(await run(llm)) == "abcd"


async def test_a_refusal_under_another_slot_is_that_slots_to_signal(run: RunsWithSlots) -> None:
    refused = errors.RateLimited("slow", status=429, retry_after_s=2.0)
    llm = TextLLM({text: [refused] for text in "bcd"})
    with pytest.raises(Throttled):
        await run(llm)
    assert set(run.limits.refusals) == {2.0}
    assert not run.ctx.meter.refused


async def test_a_permanent_failure_stops_the_run_and_fails_the_job(
    run: RunsWithSlots, redis: AnyRedis
) -> None:
    llm = TextLLM({"a": [errors.AuthenticationFailed("no", status=401)]})
    run.limits = Slots(0)
    with pytest.raises(errors.AuthenticationFailed):
        await run(llm)
    assert llm.asked == ["a"]
    assert not await redis.exists(KEYS.parts("j1"))


async def test_a_text_that_is_refused_is_named_and_the_other_parts_are_not_paid_for_again(
    run: RunsWithSlots, redis: AnyRedis
) -> None:
    run.limits = Slots(0)
    texts = ["a", "b", "c", "d" * 9, "e", "f"]
    llm = TextLLM({texts[3]: [errors.ContextTooLong("too long", status=400)]})
    told = r"texts 2 to 3, .* text 3 is the longest: 9 characters"
    with pytest.raises(errors.ContextTooLong, match=told) as raised:
        await run(llm, {"texts": texts, "texts_per_call": 2})
    assert (raised.value.details["text"], raised.value.details["texts"]) == (3, [2, 4])
    assert llm.asked == ["ab", "c" + texts[3]]

    again = RunsWithSlots(redis)  # another job, with the text put right
    again.limits, texts[3] = Slots(0), "d"
    llm = TextLLM()
    assert letters(await again(llm, {"texts": texts, "texts_per_call": 2})) == "abcdef"
    assert llm.asked == ["cd", "ef"]


@pytest.mark.parametrize(
    ("message", "at"), [("Invalid 'input[1]': too long.", 3), ("requests[0].content is wrong", 2), ("no", 2)]
)
def test_the_place_of_a_text_is_among_all_texts_whatever_a_provider_counts_from(
    message: str, at: int
) -> None:
    error = errors.BadRequest(message, status=400)
    locate(error, ["a", "b", "cc", "d", "e"], Part(2, 4))
    assert (error.details["text"], str(error).startswith(message)) == (at, True)
    assert f"text {at}" in str(error)


@pytest.mark.parametrize(
    "error", [errors.QuotaExhausted("x"), errors.ServerError("x"), errors.BadRequest("x", sent=False)]
)
def test_an_error_that_is_about_no_text_names_none(error: errors.JobError) -> None:
    locate(error, ["a", "b"], Part(0, 2))
    assert (str(error), "text" in error.details) == ("x", False)


async def test_a_provider_that_is_down_is_left_alone_after_three_failures(run: RunsWithSlots) -> None:
    run.limits = Slots(0)
    llm = TextLLM({text: [DOWN] for text in "abcd"})
    with pytest.raises(Retry):
        await run(llm)
    assert llm.asked == ["a", "b", "c"]


async def test_what_one_model_has_done_is_not_mixed_with_anothers(run: RunsWithSlots) -> None:
    llm = TextLLM({"d": [errors.ModelNotFound("none", status=404)]})
    with pytest.raises(Reroute):
        await run(llm, {**REQUEST, "fallbacks": ["openai/other"]})
    result = await run(llm)
    assert letters(result) == "abcd"
    assert sorted(llm.asked) == ["a", "a", "b", "b", "c", "c", "d", "d"]


async def test_parts_of_another_job_of_the_same_id_are_not_taken(run: RunsWithSlots) -> None:
    llm = TextLLM({"d": [DOWN]})
    with pytest.raises(Retry):
        await run(llm)
    run.payload = None
    result = await run(llm, {"texts": ["e", "b", "g", "d"], "texts_per_call": 1})
    assert letters(result) == "ebgd"


async def test_each_of_many_parts_is_kept_as_it_is_done(
    run: RunsWithSlots, redis: AnyRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "MANY_PARTS", 4)
    run.limits = Slots(0)
    with pytest.raises(asyncio.CancelledError):
        await run(TextLLM({"c": [asyncio.CancelledError()]}))
    run.has_run = True
    llm = TextLLM()
    assert letters(await run(llm)) == "abcd"
    assert llm.asked == ["c", "d"]


async def test_cancelling_the_job_cancels_all_of_its_calls(run: RunsWithSlots) -> None:
    class HangingLLM(TextLLM):
        async def embed(self, request: EmbedRequest, *, call_id: str) -> NoReturn:
            self.running += 1
            try:
                await forever()
            finally:
                self.running -= 1

    llm = HangingLLM()
    task = asyncio.create_task(run(llm))
    await wait_until(lambda: llm.running == 3, description="three calls at once")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert llm.running == 0
    assert (run.ctx.meter.called, run.ctx.meter.tokens) == (True, None)


class LosesItsSlot(TextLLM):
    """The call for the first of the texts that is asked for under another slot is cut off, as that is taken away."""

    lost = ""

    async def embed(self, request: EmbedRequest, *, call_id: str) -> EmbedAnswer:
        text = request.texts[0]
        if text != "a" and not self.lost:
            self.lost = text
            self.asked.append(text)
            raise asyncio.CancelledError  # as Slot cancels it
        return await super().embed(request, call_id=call_id)


class TakenAway(Slots):
    @asynccontextmanager
    async def slot(self, *limit_keys: str) -> AsyncIterator[Slots]:
        async with super().slot(*limit_keys) as slot:
            try:
                yield slot
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if task is not None and task.cancelling():
                    raise
                raise errors.SlotLost("it was taken away") from None


@pytest.mark.parametrize("texts", ["ab", "abc", "abcd"])
async def test_a_part_whose_slot_was_lost_is_asked_for_again_and_both_calls_are_told(
    run: RunsWithSlots, texts: str
) -> None:
    run.limits, llm = TakenAway(3), LosesItsSlot()
    result = await run(llm, {**REQUEST, "texts": [*texts]})
    assert letters(result) == texts
    assert sorted(llm.asked) == sorted([*texts, llm.lost])
    cut_off = [attempt for attempt in result.attempts if attempt.error == "CancelledError"]
    assert [texts[attempt.part or 0] for attempt in cut_off] == [llm.lost]
    assert len(result.attempts) == len(texts) + 1


class SlowToGiveBack(Slots):
    """A slot takes until `redis_is_back` to be given back."""

    def __init__(self) -> None:
        super().__init__(2)
        self.redis_is_back = asyncio.Event()

    @asynccontextmanager
    async def slot(self, *limit_keys: str) -> AsyncIterator[Slots]:
        try:
            async with super().slot(*limit_keys) as slot:
                yield slot
        finally:
            await self.redis_is_back.wait()


async def test_what_is_done_is_kept_at_once_however_long_its_slots_take_to_be_given_back(
    run: RunsWithSlots,
) -> None:
    """The worker waits a second for a job that it hands back, and takes nothing from it afterwards."""

    class AnswersTheFirst(TextLLM):
        async def embed(self, request: EmbedRequest, *, call_id: str) -> EmbedAnswer:
            answer = await super().embed(request, call_id=call_id)
            if request.texts[0] != "a":
                await forever()
            return answer

    run.limits, llm = SlowToGiveBack(), AnswersTheFirst()
    running = asyncio.create_task(run(llm))
    await wait_until(lambda: len(llm.asked) == 4, description="one part done, three asked for")
    running.cancel()
    await wait_until(lambda: bool(run.kept), description="what is done is kept")
    assert not running.done()
    run.limits.redis_is_back.set()
    with pytest.raises(asyncio.CancelledError):
        await running


class Answers(TextLLM):
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.answered: list[str] = []

    async def embed(self, request: EmbedRequest, *, call_id: str) -> EmbedAnswer:
        answer = await super().embed(request, call_id=call_id)
        self.answered += request.texts
        return answer


@pytest.mark.parametrize("failures", [{}, {"b": [DOWN]}], ids=["all well", "one fails"])
@pytest.mark.parametrize("turns", range(1, 30))
async def test_at_whatever_turn_a_job_is_cancelled_no_answer_is_asked_for_again(
    run: RunsWithSlots, redis: AnyRedis, turns: int, failures: dict[str, list[BaseException]]
) -> None:
    llm, results = Answers(failures), list[Embeddings]()

    async def runs() -> None:
        results.append(await run(llm, {**REQUEST, "fallbacks": ["openai/other"]}))

    running = asyncio.create_task(runs())
    for _ in range(turns):
        await asyncio.sleep(0)
    if not run.has_run:  # the engine has its outcome by then
        running.cancel()
    try:
        await running
    except asyncio.CancelledError:
        await run.hand_back()
    except Retry:
        pass
    while not results:
        with suppress(Retry):
            await runs()
    (result,) = results
    assert letters(result) == "abcd"
    assert sorted(llm.answered) == [*"abcd"]


@pytest.mark.parametrize("vectors", [[[1.0], [1.0, 2.0]], [[1.0], "AAAA"], ["!!!!", "AACAPw=="], [[], []]])
async def test_vectors_of_different_lengths_are_a_malformed_response(
    run: RunsWithSlots, vectors: list[Any]
) -> None:
    llm = ScriptedLLM(EmbedAnswer(vectors, "e", ONE), max_tries=1)
    with pytest.raises(errors.MalformedResponse):
        await run(llm, {"texts": ["a", "b"]})


async def test_base64_of_a_provider_is_read(run: RunsWithSlots) -> None:
    llm = ScriptedLLM(EmbedAnswer(["AACAPwAAAEA=", "AAAAQAAAgD8="], "e", ONE))
    assert (await run(llm, {"texts": ["a", "b"]})).vectors == [[1.0, 2.0], [2.0, 1.0]]
