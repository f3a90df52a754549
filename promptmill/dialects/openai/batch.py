"""OpenAI's batch lines: {"custom_id", "method", "url", "body"} → the fields of our requests, and our answers →
{"id", "custom_id", "response", "error"}."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from client.errors import InvalidRequest
from client.wire.extras import one_limit
from client.wire.nulls import present
from client.wire.schemas import ChatRequest, Completion, Embeddings, Usage
from promptmill.dialects.answers import mapping

CHAT_URL = "/v1/chat/completions"
EMBEDDINGS_URL = "/v1/embeddings"

_LINE_FIELDS = frozenset({"method", "url", "body"})
_CHAT_FIELDS = frozenset(ChatRequest.model_fields) - {"extra", "timeout_s"}
_ENCODINGS = ("float", "base64")  # on the way from the provider; vectors are written as numbers


def is_batch(fields: dict[str, Any]) -> bool:
    """Whether the line is of the batch form; its custom_id has been taken out."""
    return "body" in fields or "url" in fields


def from_batch(fields: dict[str, Any]) -> dict[str, Any]:
    """The body as fields of ChatRequest or EmbedRequest. Raises InvalidRequest.

    Its address is a hint: of a host, or Azure's with a deployment, which is the model where the body names none.
    """
    unknown = fields.keys() - _LINE_FIELDS
    if unknown:
        raise InvalidRequest(f"a batch line has no field {min(unknown)!r}")
    if str(fields.get("method", "POST")).upper() != "POST":
        raise InvalidRequest("its method must be POST")
    body = fields.get("body")
    if not isinstance(body, dict):
        raise InvalidRequest("its body must be a JSON object")
    url = fields.get("url", CHAT_URL)
    path = [each for each in urlsplit(url).path.split("/") if each] if isinstance(url, str) else []
    body = _model_of(path) | present(body)
    if path[-2:] == ["chat", "completions"]:
        return _chat(body)
    if path[-1:] == ["embeddings"]:
        return _embeddings(body)
    raise InvalidRequest(
        f"its url must be {CHAT_URL} or {EMBEDDINGS_URL}, or end alike, which {url!r} does not"
    )


def _model_of(path: list[str]) -> dict[str, Any]:
    at = path.index("deployments") + 1 if "deployments" in path else len(path)
    return {"model": path[at]} if at < len(path) - 1 else {}


def _chat(body: dict[str, Any]) -> dict[str, Any]:
    if body.get("stream"):
        raise InvalidRequest("its answer cannot be streamed into a file: leave stream out")
    if body.get("n", 1) != 1:
        raise InvalidRequest("it asks for more than one answer (n): write a line for each")
    body = one_limit(body)
    fields = {name: value for name, value in body.items() if name in _CHAT_FIELDS}
    if "messages" not in fields:
        raise InvalidRequest("its body has no messages")
    extra = {name: value for name, value in body.items() if name not in _CHAT_FIELDS}
    for name in ("stream", "stream_options", "n"):
        extra.pop(name, None)
    return {**fields, "extra": extra} if extra else fields


def _embeddings(body: dict[str, Any]) -> dict[str, Any]:
    rest = dict(body)
    texts = rest.pop("input", None)
    if isinstance(texts, str):
        texts = [texts]
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise InvalidRequest("its input must be a text or a list of texts")
    if rest.pop("encoding_format", "float") not in _ENCODINGS:
        raise InvalidRequest(f"its encoding_format must be {' or '.join(_ENCODINGS)}")
    known = ("model", "dimensions", "metadata")
    fields: dict[str, Any] = {name: rest.pop(name) for name in known if name in rest}
    return {**fields, "texts": texts, **({"extra": rest} if rest else {})}


def to_batch(custom_id: str, answer: Completion | Embeddings) -> dict[str, Any]:
    """The line of the output file."""
    body = _chat_body(answer) if isinstance(answer, Completion) else _embeddings_body(answer)
    return {
        "id": f"batch_req_{answer.job_id}",
        "custom_id": custom_id,
        "response": {"status_code": 200, "request_id": answer.job_id, "body": body},
        "error": None,
    }


def from_output(record: dict[str, Any]) -> dict[str, Any]:
    """Such a line in the form of our own ones, as far as the command reads them."""
    body = record["response"]["body"]
    usage = body.get("usage") or {}
    flat: dict[str, Any] = {
        "line": record["custom_id"],
        "usage": {
            "input_tokens": usage.get("prompt_tokens"),
            "output_tokens": usage.get("completion_tokens"),
        },
    }
    if "choices" in body:
        choice = body["choices"][0]
        message = choice["message"]
        return flat | {
            "text": message.get("content") or message.get("refusal") or "",
            "finish_reason": choice.get("finish_reason"),
            "tool_calls": message.get("tool_calls"),
            "extra": {"message": message},
        }
    return flat | {"vectors": [entry["embedding"] for entry in body.get("data", ())]}


def _chat_body(answer: Completion) -> dict[str, Any]:
    """What the provider sent beyond our form goes where OpenAI has it: into the message, the choice, the body."""
    extra = answer.extra
    message: dict[str, Any] = {"role": "assistant", "content": answer.text}
    if answer.tool_calls:
        message["tool_calls"] = answer.tool_calls
    if answer.reasoning:
        message["reasoning_content"] = answer.reasoning
    message |= extra.get("message", {})
    if message.get("refusal") == answer.text:
        message["content"] = None
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": answer.finish_reason}
    return {
        **extra.get("response", {}),
        "id": answer.response_id or f"chatcmpl-{answer.job_id}",
        "object": "chat.completion",
        "created": int(answer.timings.enqueued_at.timestamp()),
        "model": answer.model,
        "choices": [
            {**extra.get("choice", {}), **choice, "logprobs": extra.get("choice", {}).get("logprobs")}
        ],
        "usage": _openai_usage(answer.usage, extra.get("usage", {})),
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


def _openai_usage(usage: Usage, extra: dict[str, Any]) -> dict[str, Any] | None:
    if usage.input_tokens is None or usage.output_tokens is None:
        return extra or None
    told = {
        "prompt_tokens_details": {
            "cached_tokens": usage.cached_input_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
        },
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }
    details = {
        name: {k: v for k, v in of.items() if v is not None} | mapping(extra.get(name))
        for name, of in told.items()
    }
    return {
        **extra,
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        **{name: of for name, of in details.items() if of},
    }
