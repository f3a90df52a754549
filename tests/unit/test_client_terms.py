"""The options of the verbs that enqueue: the same for a type checker, for `help()` and for the program."""

from __future__ import annotations

import inspect
import pydoc
from typing import Any

import pytest

from client import ChatRequest, EmbedRequest, InvalidRequest, Queue, SyncQueue
from client.terms import ChatOptions, EmbedOptions, EnqueueTerms, Terms

TERMS = [
    "defer_s: 'float' = 0",
    "deadline_s: 'float' = 86400.0",
    "tenant: 'str | None' = None",
    "conversation: 'str | None' = None",
    "limits: 'Sequence[str]' = ()",
    "lane: 'str | None' = None",
    "priority: 'Priority' = 'normal'",
]


@pytest.mark.parametrize("kind", [Queue, SyncQueue])
@pytest.mark.parametrize(
    ("verb", "before", "after"),
    [
        (
            "chat",
            "self, /, prompt: 'ChatInput', *, model: 'str | None' = None, system: 'str | None' = None, "
            "job_id: 'str | None' = None, ",
            ", **options: 'Unpack[ChatOptions]') -> 'ChatJob'",
        ),
        (
            "embed",
            "self, /, texts: 'EmbedInput', *, model: 'str | None' = None, job_id: 'str | None' = None, ",
            ", **options: 'Unpack[EmbedOptions]') -> 'EmbedJob'",
        ),
        (
            "chat_many",
            "self, requests: 'Iterable[ChatInput]', *, job_ids: 'Sequence[str] | None' = None, ",
            ") -> 'list[ChatJob]'",
        ),
        (
            "embed_many",
            "self, requests: 'Iterable[EmbedInput]', *, job_ids: 'Sequence[str] | None' = None, ",
            ") -> 'list[EmbedJob]'",
        ),
    ],
)
def test_help_shows_every_term_with_its_default(kind: type, verb: str, before: str, after: str) -> None:
    function = getattr(kind, verb)
    assert str(inspect.signature(function)) == f"({before}{', '.join(TERMS)}{after}"
    shown = pydoc.plain(pydoc.render_doc(function))
    assert all(term in shown for term in TERMS)


def test_the_terms_of_a_job_of_any_function_are_underscored() -> None:
    ours = [str(each) for each in inspect.signature(Queue.enqueue).parameters.values() if each.name[0] == "_"]
    assert ours == ["_job_id: 'str | None' = None", *(f"_{term}" for term in TERMS)]


def test_a_type_checker_knows_every_option() -> None:
    of = inspect.signature(Terms).parameters
    assert list(EnqueueTerms.__annotations__) == [name for name in of if name != "job_ids"]
    for options, request, others in (
        (ChatOptions, ChatRequest, {"messages", "model"}),
        (EmbedOptions, EmbedRequest, {"texts", "model"}),
    ):
        fields: dict[str, Any] = request.model_fields
        assert options.__annotations__.keys() - EnqueueTerms.__annotations__.keys() == fields.keys() - others


async def _wrong_for_a_type_checker(queue: Queue, mill: SyncQueue) -> None:
    """mypy reports an ignored error that is none."""
    await queue.chat("hi", tenant=5)  # type: ignore[arg-type]
    await queue.chat_many(["hi"], tenants="a")  # type: ignore[call-arg]
    await queue.embed("hi", temperature=0.5)  # type: ignore[call-arg]
    await queue.enqueue("f", _defer_s="soon")  # type: ignore[arg-type]
    mill.chat("hi", max_tokens="many")  # type: ignore[arg-type]
    mill.embed_many(["hi"], priority="urgent")  # type: ignore[arg-type]
    await queue.chat("hi", tenant="acme", max_tokens=5, stop=["."], priority=3.5)
    mill.embed("hi", dimensions=8, limits=("a",), metadata={"a": 1})


async def test_an_option_that_does_not_exist_is_refused(fake_queue: Queue) -> None:
    unknown: Any = {"temprature": 1}
    with pytest.raises(InvalidRequest, match="temprature"):
        await fake_queue.chat("hi", **unknown)
    with pytest.raises(InvalidRequest, match="temprature"):
        await fake_queue.embed("hi", **unknown)
    with pytest.raises(TypeError, match="temprature"):
        await fake_queue.chat_many(["hi"], **unknown)
    assert await fake_queue.session.redis.dbsize() == 0
