"""An answer or an error → the line that is written for it. Batch lines get OpenAI's batch output form."""

from __future__ import annotations

from typing import Any

from pydantic_core import to_json

from client.errors import JobError, ProviderError
from client.wire.schemas import BESIDE_WORDS, Completion, Embeddings, Shortfall, shortfall_of
from promptmill.dialects.openai.batch import from_output, to_batch

from .items import Item


def answer_line(item: Item, answer: Completion | Embeddings, retry_round: int) -> bytes:
    """One line of the output, with its newline. It begins as output.LINE_STARTS says. `round` counts the runs that have
    asked for it again, with --retry-errors or --retry-empty."""
    record = to_batch(item.custom_id, answer) if item.is_batch else _flat_answer(item, answer)
    asked_again = {"round": retry_round} if retry_round else {}
    return to_json({**record, "hash": item.hash, **asked_again}) + b"\n"


def shortfall_in(record: dict[str, Any]) -> Shortfall | None:
    """What the answer of such a line lacks, as Completion.shortfall says it of one that has just come."""
    flat = from_output(record) if "response" in record else record
    if "vectors" in flat:
        return None
    message = (flat.get("extra") or {}).get("message") or {}
    is_more = bool(flat.get("tool_calls") or message.keys() & BESIDE_WORDS)
    return shortfall_of(flat.get("text"), flat.get("finish_reason"), is_more=is_more)


def error_line(item: Item, error: JobError, retry_round: int) -> bytes:
    """One line of the error file, with its newline. `round` counts the runs with --retry-errors."""
    told: dict[str, Any] = {"type": type(error).__name__, "message": error.message}
    if isinstance(error, ProviderError):
        told |= {"status": error.status, "code": error.code}
    record = {
        "custom_id": item.custom_id,
        "line": item.line,
        "hash": item.hash,
        "round": retry_round,
        "error": {name: value for name, value in told.items() if value is not None},
    }
    return to_json(record) + b"\n"


def _flat_answer(item: Item, answer: Completion | Embeddings) -> dict[str, Any]:
    record: dict[str, Any] = {"custom_id": item.custom_id, "line": item.line}
    if isinstance(answer, Completion):
        record |= {"text": answer.text, "model": answer.model, "finish_reason": answer.finish_reason}
        if answer.tool_calls:
            record["tool_calls"] = answer.tool_calls
        if answer.reasoning:
            record["reasoning"] = answer.reasoning
        if answer.extra:
            record["extra"] = answer.extra
    else:
        record |= {"vectors": answer.vectors, "model": answer.model}
    return record | {
        "usage": answer.usage,
        "cost_usd": answer.cost_usd,
        "attempts": len(answer.attempts),
        "duration_s": answer.timings.running_s,
        "metadata": answer.metadata,
    }
