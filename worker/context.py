"""What the engine gives a run, and what the run's calls tell it in return. A leaf: imports the client alone."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar

from arq.cron import CronJob
from arq.worker import Function

from client import Limits
from client.wire.schemas import Attempt, Message

if TYPE_CHECKING:
    from promptmill.dialects import ChatAnswer  # it loads an HTTP library, which jobs need not have

CoroutineFunction: TypeAlias = Callable[..., Coroutine[Any, Any, Any]]  # what arq calls with a run's context
R = TypeVar("R", Function, CronJob)  # what is wrapped stays of the kind that it was
Prompt: TypeAlias = str | Sequence[Message | dict[str, Any]]


@dataclass(slots=True)
class Meter:
    """What the calls of a run really used: its job fills it in, and the engine settles the reservation by it.

    A run that is cut short leaves what is known until then.
    """

    called: bool = False  # a request has gone out: its reservation is not simply given back
    requests: int = 1  # so many have gone out under the run's own slots, where one has
    tokens: int | None = None  # input + output, summed over calls; None: unknown, the reservation stands
    output_tokens: int | None = None  # for the learned mean
    usd: float | None = None  # None: unknown, the reservation stands
    answered: bool = False  # the provider answered: congestion control may raise the limit
    refused: bool = False  # 429, 503 or 529
    overloaded: bool = False  # it was 503 or 529: whoever was not refused may be, too
    refused_s: float | None = None  # how long the provider asked us to wait, seconds
    unreached_s: float | None = field(
        default=None, compare=False
    )  # nothing could be sent of late: after so long
    last_event_id: str | None = None  # of a streamed run; empty where it has said nothing
    attempts: list[Attempt] = field(
        default_factory=list, compare=False
    )  # for the run after it: the latest 200


class Asks(Protocol):
    """The worker's LLM, as a job of one's own sees it."""

    async def ask(
        self,
        model: str | None,
        prompt: Prompt,
        /,
        *limits: str,
        tokens: int | None = None,
        wait_s: float | None = None,
        **fields: Any,
    ) -> ChatAnswer:
        """One physical call under a slot of its own, in the totals of what calls cost: `(await ask(…)).text`

        `model` None is DEFAULT_MODEL, `prompt` a user's words or messages, `limits` more limit keys, `tokens`
        what is reserved (the estimate of the input, and max_tokens, by default), `wait_s` how long to wait for
        the slot (SlotTimeout afterwards), and `fields` those of a ChatRequest, such as max_tokens. What was never
        sent is asked again for UNREACHABLE_S. Nothing else is retried: a job that lets the error escape runs again as
        a whole. Raises ProviderError,
        ProviderNotConfigured, SlotTimeout, InvalidRequest. Cancelling it closes the connection. A Redis that is away is
        waited for.
        """


def key(name: str) -> Any:
    """A key of a context as an attribute."""
    return property(itemgetter(name))


class Context(dict[Any, Any]):
    """arq's context of one run: `ctx.limits` is `ctx["limits"]`, and typed."""

    job_id: str = key("job_id")
    job_try: int = key("job_try")
    enqueue_time: datetime = key("enqueue_time")
    score: int = key("score")  # when it was due, Unix milliseconds
    lane: str = key("lane")  # its name; empty for a queue of arq's
    limit_keys: tuple[str, ...] = key("limit_keys")  # that the job holds by its lane
    token: str = key("token")  # the fencing token
    payload: bytes = key("payload")  # the job's record
    shut: str = key("shut")  # why its model takes no calls, where the job is to go on to another
    has_run: bool = key("has_run")  # a run of it has begun before
    meter: Meter = key("meter")
    keep: Callable[[Mapping[str, bytes]], None] = key("keep")  # parts that are done, for a later run, if any
    limits: Limits = key("limits")  # of the fleet: `async with ctx.limits.slot("openai/gpt-4o"): …`
    llm: Asks = key("llm")  # the worker's: `await ctx.llm.ask("openai/gpt-4o", prompt)`
