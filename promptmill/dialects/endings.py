"""Why an answer ended: one name for each reason, whichever word a host has for it. Pure."""

from __future__ import annotations

from typing import Any

_WORDS = {
    "stop": (
        "stop end_turn stop_sequence"  # OpenAI, Google; Anthropic's two
        " eos eos_token"  # Together; Hugging Face's TGI
    ),
    "length": "length max_tokens model_context_window_exceeded model_length",  # the last: Mistral
    "tool_calls": "tool_calls tool_use",
    "content_filter": (
        "content_filter refusal safety recitation blocklist prohibited_content spii model_armor image_safety"
        " image_prohibited_content image_recitation"
        " sensitive"  # Z.ai
    ),
}
_NAMES = {word: name for name, words in _WORDS.items() for word in words.split()}


def finish_reason(told: Any) -> str | None:
    """Our name for the reason, or the provider's own word; gateways pass on the words of what is behind them."""
    return _NAMES.get(told.lower(), told) if told and isinstance(told, str) else None
