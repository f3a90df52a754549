"""The parts of one embedding, side by side: a runner under the job's own slot, others under slots of theirs."""

from __future__ import annotations

import asyncio
from binascii import a2b_base64
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from math import isfinite
from struct import unpack
from typing import NamedTuple

from client import words
from client.errors import JobError, MalformedResponse, MillError, Overloaded, RateLimited
from client.limits.rules.lanes import model_key
from client.limits.slots import SlotBlock
from client.wire.schemas import Attempt, EmbedRequest
from client.wire.vectors import NUMBER_BYTES, pack
from promptmill.dialects import EmbedAnswer
from worker.calls import to_the_end
from worker.context import Meter

from . import done_parts
from .call import Call, add_up
from .done_parts import Vectored
from .embed_split import Part
from .request import Start
from .retries import uses_a_try, was_unreached
from .services import JobContext

RUNNERS = 8  # calls of one job at once
MANY_PARTS = 8  # from here on each part is kept as it is done, for a worker that is killed
FAILURES_IN_A_ROW = 3  # then the provider is down, and the other parts wait for the next run
ROWS_A_TURN = 32  # vectors packed before other tasks have their turn: some 2 ms

logger = words.logger("promptmill.jobs")


class Failed(NamedTuple):
    """A call that was not answered."""

    error: JobError
    attempt: Attempt


class Embedding:
    """One run of an embedding job. `attempts` are its physical calls, by number."""

    def __init__(self, ctx: JobContext, asked: EmbedRequest, start: Start, parts: Sequence[Part]) -> None:
        self.done: dict[Part, Vectored] = {}
        self._ctx, self._asked, self._start = ctx, asked, start
        self.parts = parts
        self._todo = deque(parts)
        self._attempts: list[Attempt] = []
        self._failures: list[Failed] = []
        self._in_a_row = 0
        self._is_over = False  # a failure has ended it
        self._next_number = start.next_number
        self._waiting: set[asyncio.Task[None]] = set()  # runners without a slot
        self._names: dict[Part, str] = {}
        self._kept: set[Part] = set()

    @property
    def attempts(self) -> list[Attempt]:
        return sorted(self._attempts, key=lambda attempt: attempt.number)

    async def run(self) -> Failed | None:
        """Asks for all parts that are not done; returns the failure that decides what follows, if any.

        Cancelled, it keeps what is done by then; what was done after that is to be kept by the caller.
        """
        if len(self.parts) > 1:  # a run that was handed back, or a dead letter, may have left some
            await self._find()
        try:
            while self._todo:  # once more where the last runner was cut off
                await self._ask_for_all()
        except BaseExceptionGroup as group_of_errors:  # faults of our own; a failed call is none
            raise group_of_errors.exceptions[0] from None
        return max(self._failures, key=self._weight, default=None)

    def keep(self) -> None:
        """Keeps what is done for the next run."""
        for part in self.done:
            self._keep(part)

    async def keep_for_all(self) -> None:
        """Keeps what is done for whichever job asks for the same, as this one is over."""
        for part, vectored in self.done.items():
            await done_parts.keep_for_all(self._ctx, self._name(part), vectored)

    # -- runners -------------------------------------------------------------------------------------

    async def _ask_for_all(self) -> None:
        async with asyncio.TaskGroup() as group:
            try:
                runners = min(RUNNERS, len(self._todo)) - 1
                others = [group.create_task(self._run_further()) for _ in range(runners)]
                self._waiting.update(others)
                while part := self._take():
                    await self._ask(part)
                    self._keep_one_of_many(part)
                if others:
                    await asyncio.wait(others)
            except asyncio.CancelledError:
                self.keep()  # before the runners give their slots back: the worker may not wait for that
                raise

    async def _run_further(self) -> None:
        """A runner that takes a slot for each part, and ends when no part is left."""
        task = asyncio.current_task()
        assert task is not None
        while self._todo:
            self._waiting.add(task)
            try:
                async with self._slot() as slot:
                    self._waiting.discard(task)
                    slot.settle(tokens=0, usd=0.0)  # the job has reserved what all parts use
                    part = self._take()
                    if part is None:
                        return
                    failed = await self._ask(part, own_slot=False)
                    if failed and isinstance(failed.error, RateLimited | Overloaded):
                        slot.refused(failed.error.retry_after_s)
                    elif failed and was_unreached(failed.attempt):
                        slot.unreached(failed.attempt.duration_s)
            except MillError as error:  # no slot to be had, or it was lost
                logger.debug("%s: one runner less: %s", self._ctx.job_id, error)
                return
            finally:
                self._waiting.discard(task)
            self._keep_one_of_many(part)

    def _slot(self) -> SlotBlock:
        """A slot beside the job's own, under all that the job is admitted under."""
        limit_keys = self._ctx.limit_keys or (model_key(str(self._start.route)),)
        return self._ctx.services.limits.slot(*limit_keys)

    def _take(self) -> Part | None:
        if not self._todo:
            return None
        part = self._todo.popleft()
        if not self._todo:
            self._dismiss()
        return part

    def _stop(self) -> None:
        self._is_over = True
        self._todo.clear()
        self._dismiss()

    def _dismiss(self) -> None:
        for task in self._waiting:
            task.cancel()

    # -- one part ------------------------------------------------------------------------------------

    async def _ask(self, part: Part, own_slot: bool = True) -> Failed | None:
        number, self._next_number = self._next_number, self._next_number + 1
        of_part, of_many = Meter(requests=int(own_slot)), part.start if len(self.parts) > 1 else None
        call = Call(self._ctx, self._start.route, number, of_part, of_many)
        try:
            vectored = await call.make(self._vectors(part, call.id))
        except JobError as error:
            failed = Failed(error, call.attempt)
            self._fail(failed)
            return failed
        except asyncio.CancelledError:
            if not self._is_over:
                self._todo.appendleft(part)  # if only its slot was lost, whoever has one asks again
            raise
        finally:  # of one that was cut off, too: it may be paid for
            self._attempts.append(call.attempt)
            add_up(self._ctx.meter, of_part, signals=own_slot)
        self._in_a_row = 0
        self.done[part] = replace(vectored, cost_usd=call.attempt.cost_usd)
        return None

    async def _vectors(self, part: Part, call_id: str) -> Vectored:
        texts = self._asked.texts[part.start : part.end]
        request = self._asked.model_copy(update={"texts": texts})
        answer = await self._ctx.services.llm.embed(request, call_id=call_id)
        numbers = await to_the_end(packed(answer, str(self._start.route)))
        dimensions = len(numbers) // len(texts) // NUMBER_BYTES
        return Vectored(numbers, dimensions=dimensions, model=answer.model, usage=answer.usage)

    def _fail(self, failed: Failed) -> None:
        """The other parts go on, unless they would fail, too."""
        self._failures.append(failed)
        self._in_a_row += 1
        hopeless = not failed.error.retryable or not _is_its_own(failed.attempt)
        if hopeless or self._in_a_row >= FAILURES_IN_A_ROW:
            self._stop()

    def _weight(self, failed: Failed) -> tuple[bool, bool, int]:
        """The permanent failure decides, then that of the part that has failed most often."""
        again = [past for past in self._start.earlier if past.part == failed.attempt.part]
        return not failed.error.retryable, _is_its_own(failed.attempt), len(again)

    # -- what is done stays done -----------------------------------------------------------------------

    async def _find(self) -> None:
        names = {self._name(part): part for part in self.parts}
        for name, part in (await done_parts.find(self._ctx, list(names))).items():
            wanted = names[name]
            if len(part.numbers) == (wanted.end - wanted.start) * part.dimensions * NUMBER_BYTES:
                self.done[wanted] = part
                self._kept.add(wanted)
        self._todo = deque(part for part in self.parts if part not in self.done)

    def _keep_one_of_many(self, part: Part) -> None:
        if len(self.parts) >= MANY_PARTS and part in self.done:
            self._keep(part)

    def _keep(self, part: Part) -> None:
        if part not in self._kept:
            self._kept.add(part)
            done_parts.keep(self._ctx, self._name(part), self.done[part])

    def _name(self, part: Part) -> str:
        if part not in self._names:
            self._names[part] = done_parts.name(self._asked, self._start.route, part)
        return self._names[part]


def _is_its_own(attempt: Attempt) -> bool:
    """Whether the part is at fault, and not the provider, which would turn the others away as well."""
    return uses_a_try(attempt.error) and not was_unreached(attempt)


async def packed(answer: EmbedAnswer, model: str) -> bytes:
    """The vectors as float32 bytes. Raises MalformedResponse where they are no vectors of one length."""
    rows, done = answer.vectors, []
    try:
        size = len(_numbers(rows[0])) // NUMBER_BYTES if isinstance(rows[0], str) else len(rows[0])
        for at in range(0, len(rows), ROWS_A_TURN):
            await asyncio.sleep(0)
            turn = rows[at : at + ROWS_A_TURN]
            done.append(b"".join(_numbers(r) if isinstance(r, str) else pack(r, size) for r in turn))
            if len(done[-1]) != len(turn) * size * NUMBER_BYTES or not size:
                raise ValueError("its vectors have different lengths")
            if not _is_finite(done[-1]):
                raise ValueError("there are NaN or infinite numbers in its vectors")
    except (
        ValueError,
        OverflowError,
    ) as error:  # binascii.Error is one; an integer may be larger than any float
        raise MalformedResponse(f"{model} answered what is no list of vectors: {error}.") from None
    return b"".join(done)


def _is_finite(numbers: bytes) -> bool:
    """Of float32; only where some are beyond 10^38 is each of them looked at."""
    highest = numbers[3::NUMBER_BYTES]
    if b"\x7f" not in highest and b"\xff" not in highest:
        return True
    return all(map(isfinite, unpack(f"<{len(highest)}f", numbers)))


def _numbers(text: str) -> bytes:
    return a2b_base64(text, strict_mode=True)
