"""Secrets never reach a message or a log line. Providers echo parts of keys; proxies echo headers."""

from __future__ import annotations

import re
from base64 import b64encode

import httpx

HIDDEN = "[hidden]"
MAX_CHARS = 4_000  # of a text that is looked through: a megabyte would take a second
_MARGIN_CHARS = 300  # the longest of what is hidden, but for a longer key
_MIN_KEY_CHARS = 4  # a shorter "key" (such as "x", for a local server) would erase ordinary letters

_SECRETS = re.compile(
    r"""
    (?<![A-Za-z0-9]) (?:sk|pk|rk|gsk|xai|hf|r8|pplx|nvapi|csk|fw|tgp) [-_] [\w*.…-]{3,}  # keys by their prefix
    | (?<![A-Za-z0-9]) AIza [\w*-]{3,}                                                    # Google's
    | (?<=://) [^/\s@]+ (?=@)                                                             # user:password@host
    """,
    re.VERBOSE,
)
_MASKED = re.compile(r"\S{0,200}\*{3,}\S*")  # keys already masked
_LABELLED = re.compile(
    r"""((?:api[ _-]?key|authorization|x-api-key)[^:=\n]{0,20}[:=]\s*["']?(?:bearer\s+|basic\s+)?|bearer\s+)"""
    r"""([^\s"',}]+)""",
    re.IGNORECASE,
)


def secrets_of(base_url: str, api_key: str | None) -> tuple[str, ...]:
    """What a provider is sent and may repeat: the key, and the password in its address (or the name that stands
    alone), which goes out as Basic credentials. Raises httpx.InvalidURL."""
    url = httpx.URL(base_url)
    basic = b64encode(f"{url.username}:{url.password}".encode()).decode() if url.userinfo else ""
    return tuple(secret for secret in (api_key, basic, url.password or url.username) if secret)


def redact(text: str, *secrets: str) -> str:
    """`text` with the secrets, and all that looks like a key, a token or a password, hidden. No more than some
    MAX_CHARS of it: what is behind that is left out, with half a secret where it was cut."""
    margin_chars = max(_MARGIN_CHARS, *map(len, secrets), 0)
    if len(text) > MAX_CHARS:
        return _hidden(text[: MAX_CHARS + margin_chars], secrets)[:-margin_chars] + "…"
    return _hidden(text, secrets)


def _hidden(text: str, secrets: tuple[str, ...]) -> str:
    for secret in secrets:
        if len(secret) >= _MIN_KEY_CHARS:
            text = text.replace(secret, HIDDEN)
    text = _LABELLED.sub(rf"\g<1>{HIDDEN}", text)
    if "***" in text:
        text = _MASKED.sub(HIDDEN, text)
    return _SECRETS.sub(HIDDEN, text)
