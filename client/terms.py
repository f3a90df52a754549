"""On what terms a job is enqueued: the options of every verb that enqueues, and what they come to.

A type checker takes the options of a verb from one of the TypedDicts, the program from `Terms.of`, and
`help()` from `spelled_out`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self, TypeAlias, TypedDict, TypeVar

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


class ChatOptions(EnqueueTerms, total=False):
    """Those, and the fields of ChatRequest; one that is None is left out."""

    fallbacks: Sequence[str] | None
    max_tokens: int | None
    temperature: float | None
    top_p: float | None
    stop: Sequence[str] | str | None
    seed: int | None
    tools: Sequence[Mapping[str, Any]] | None
    tool_choice: str | Mapping[str, Any] | None
    response_format: Mapping[str, Any] | None
    stream: bool | None
    timeout_s: float | None
    metadata: Mapping[str, Any] | None
    extra: Mapping[str, Any] | None


class EmbedOptions(EnqueueTerms, total=False):
    """Those, and the fields of EmbedRequest; one that is None is left out."""

    fallbacks: Sequence[str] | None
    dimensions: int | None
    texts_per_call: int | None
    timeout_s: float | None
    metadata: Mapping[str, Any] | None
    extra: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Terms:
    """When and under which ids a call's jobs are to run, and what limits them besides their models."""

    job_ids: Sequence[str] | None
    defer_s: float
    deadline_s: float
    priority: Priority
    place: tuple[str, ...]  # the end of their lanes' names, in parts

    @classmethod
    def of(
        cls,
        job_ids: Sequence[str] | None,
        *,
        defer_s: float = 0,
        deadline_s: float = LIFE_S,
        tenant: str | None = None,
        conversation: str | None = None,
        limits: Sequence[str] = (),
        lane: str | None = None,
        priority: Priority = "normal",
    ) -> Self:
        """The terms of jobs with these ids; None: with new ones. Raises InvalidRequest."""
        return cls(job_ids, defer_s, deadline_s, priority, place(tenant, conversation, limits, lane))

    @classmethod
    def split(cls, job_id: str | None, options: Mapping[str, Any]) -> tuple[Self, dict[str, Any]]:
        """The terms of one job, and the options that are fields of its request."""
        terms = {name: options[name] for name in options.keys() & _NAMES}
        fields = {name: value for name, value in options.items() if name not in _NAMES}
        return cls.of(None if job_id is None else [job_id], **terms), fields


_TERMS = [each for each in inspect.signature(Terms.of).parameters.values() if each.kind is each.KEYWORD_ONLY]
_NAMES = {each.name for each in _TERMS}


def spelled_out(verb: Verb) -> Verb:
    """Has `help()` show the terms by name, with their defaults, in place of `**terms` or before `**options`."""
    signature = inspect.signature(verb)
    *named, rest = signature.parameters.values()
    others = [] if rest.name == "terms" else [rest]
    verb.__dict__["__signature__"] = signature.replace(parameters=[*named, *_TERMS, *others])
    return verb
