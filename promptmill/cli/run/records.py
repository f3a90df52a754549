"""An answer or an error → the line that is written for it. Batch lines get OpenAI's batch output form."""

from __future__ import annotations

from typing import Any

from pydantic_core import to_json

from client.errors import JobError, ProviderError
from client.wire.schemas import Completion, Embeddings, Usage

from .items import Item


def answer_line(item: Item, answer: Completion | Embeddings) -> bytes:
    """One line of the output, with its newline. It begins as output.LINE_STARTS says."""
    record = _batch_answer(item, answer) if item.is_batch else _flat_answer(item, answer)
    return to_json(record) + b"\n"


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
    else:
        record |= {"vectors": answer.vectors, "model": answer.model}
    return record | {
        "usage": answer.usage,
        "cost_usd": answer.cost_usd,
        "attempts": len(answer.attempts),
        "duration_s": answer.timings.running_s,
        "metadata": answer.metadata,
        "hash": item.hash,
    }


def _batch_answer(item: Item, answer: Completion | Embeddings) -> dict[str, Any]:
    body = _chat_body(answer) if isinstance(answer, Completion) else _embeddings_body(answer)
    return {
        "id": f"batch_req_{answer.job_id}",
        "custom_id": item.custom_id,
        "response": {"status_code": 200, "request_id": answer.job_id, "body": body},
        "error": None,
        "hash": item.hash,
    }


def _chat_body(answer: Completion) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": answer.text}
    if answer.tool_calls:
        message["tool_calls"] = answer.tool_calls
    return {
        "id": answer.response_id or f"chatcmpl-{answer.job_id}",
        "object": "chat.completion",
        "created": int(answer.timings.enqueued_at.timestamp()),
        "model": answer.model,
        "choices": [
            {"index": 0, "message": message, "logprobs": None, "finish_reason": answer.finish_reason}
        ],
        "usage": _openai_usage(answer.usage),
    }


def _embeddings_body(answer: Embeddings) -> dict[str, Any]:
    usage = answer.usage.input_tokens
    return {
        "object": "list",
        "data": [
            {"object": "embedding", "index": index, "embedding": vector}
            for index, vector in enumerate(answer.vectors)
        ],
        "model": answer.model,
        "usage": None if usage is None else {"prompt_tokens": usage, "total_tokens": usage},
    }


def _openai_usage(usage: Usage) -> dict[str, Any] | None:
    if usage.input_tokens is None or usage.output_tokens is None:
        return None
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }
