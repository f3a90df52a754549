"""On what terms a job is enqueued: the options of every verb that enqueues, and what they come to.

A type checker takes the options of a verb from one of the TypedDicts, the program from `Terms`, and
`help()` from `spelled_out`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, Self, TypeAlias, TypedDict, TypeVar

from .limits.rules.lanes import place

# Who is served first within a lane: a head start in seconds, or its name. It is a head start in time, so
# whoever has none waits at most that long behind those who have one.
Priority: TypeAlias = Literal["low", "normal", "high"] | float

LIFE_S = 86_400.0  # how long a job may wait to be started, and tried again, by default

Verb = TypeVar("Verb", bound=Callable[..., Any])


class EnqueueTerms(TypedDict, total=False):
    """When a job is to run, and under which limits besides those of its model."""

    defer_s: float  # it starts no sooner; 0
    deadline_s: float  # it is not started, nor tried again, later than this after `defer_s`; a day
    tenant: str | None  # limited as `tenant:NAME`
    conversation: str | None  # limited as `conversation:ID`; its jobs follow one another
    limits: Sequence[str]  # limit keys of the caller's own
    lane: str | None  # a name that sets jobs apart, which are otherwise alike
    priority: Priority  # "normal"


_NAMES = frozenset(EnqueueTerms.__annotations__)


class _RequestOptions(EnqueueTerms, total=False):
    fallbacks: Sequence[str] | None
    timeout_s: float | None
    metadata: Mapping[str, Any] | None
    extra: Mapping[str, Any] | None


class ChatOptions(_RequestOptions, total=False):
    """Those, and the fields of ChatRequest; one that is None is left out."""

    max_tokens: int | None
    temperature: float | None
    top_p: float | None
    stop: Sequence[str] | str | None
    seed: int | None
    tools: Sequence[Mapping[str, Any]] | None
    tool_choice: str | Mapping[str, Any] | None
    response_format: Mapping[str, Any] | None
    stream: bool | None


class EmbedOptions(_RequestOptions, total=False):
    """Those, and the fields of EmbedRequest; one that is None is left out."""

    dimensions: int | None
    texts_per_call: int | None


class Terms(NamedTuple):
    """When and under which ids a call's jobs are to run, and what limits them besides their models."""

    job_ids: Sequence[str] | None  # None: new ones
    defer_s: float = 0
    deadline_s: float = LIFE_S
    tenant: str | None = None
    conversation: str | None = None
    limits: Sequence[str] = ()
    lane: str | None = None
    priority: Priority = "normal"

    @property
    def place(self) -> tuple[str, ...]:
        """The end of their lanes' names, in parts. Raises InvalidRequest."""
        return place(self.tenant, self.conversation, self.limits, self.lane)

    @classmethod
    def split(cls, job_id: str | None, options: Mapping[str, Any]) -> tuple[Self, dict[str, Any]]:
        """The terms of one job, and the options that are fields of its request."""
        terms: dict[str, Any] = {}
        fields: dict[str, Any] = {}
        for name, value in options.items():
            (terms if name in _NAMES else fields)[name] = value
        return cls(only(job_id), **terms), fields


def only(job_id: str | None) -> list[str] | None:
    return None if job_id is None else [job_id]


def spelled_out(verb: Verb) -> Verb:
    """Has `help()` show the terms by name, with their defaults, in place of `**terms` or before `**options`."""
    signature = inspect.signature(verb)
    *named, rest = signature.parameters.values()
    _, *fields = inspect.signature(Terms).parameters.values()
    terms = [
        field.replace(kind=field.KEYWORD_ONLY, annotation=getattr(field.annotation, "__forward_arg__", Any))
        for field in fields
    ]
    others = [] if rest.name == "terms" else [rest]
    verb.__dict__["__signature__"] = signature.replace(parameters=[*named, *terms, *others])
    return verb
