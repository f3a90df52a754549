"""Secrets never reach a message or a log line. Providers echo parts of keys; proxies echo headers."""

from __future__ import annotations

import re

HIDDEN = "[hidden]"
_MIN_KEY_CHARS = 4  # a shorter "key" (such as "x", for a local server) would erase ordinary letters

_SECRETS = re.compile(
    r"""
    (?<![A-Za-z0-9]) (?:sk|pk|rk|gsk|xai|hf|r8|pplx|nvapi|csk|fw|tgp) [-_] [\w*.…-]{3,}  # keys by their prefix
    | (?<![A-Za-z0-9]) AIza [\w*-]{3,}                                                    # Google's
    | \S{0,200} \*{3,} \S*                                                                # keys already masked
    | (?<=://) [^/\s@]+ (?=@)                                                             # user:password@host
    """,
    re.VERBOSE,
)
_LABELLED = re.compile(
    r"""((?:api[ _-]?key|authorization|x-api-key)[^:=\n]{0,20}[:=]\s*["']?(?:bearer\s+|basic\s+)?|bearer\s+)"""
    r"""([^\s"',}]+)""",
    re.IGNORECASE,
)


def redact(text: str, api_key: str | None = None) -> str:
    """`text` with `api_key`, and all that looks like a key, a token or a password, hidden."""
    if api_key and len(api_key) >= _MIN_KEY_CHARS:
        text = text.replace(api_key, HIDDEN)
    text = _LABELLED.sub(rf"\g<1>{HIDDEN}", text)
    return _SECRETS.sub(HIDDEN, text)
