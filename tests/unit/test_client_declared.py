"""What every script declares, whatever it is called with: where its slot moves, it runs whole or not at all."""

from __future__ import annotations

from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from client.redis import scripts as module
from client.redis.scripts import scripts
from client.wire.keys import Keys


@pytest.mark.parametrize("prefix", ["", "{llm}:"])
async def test_a_script_declares_the_epoch_and_a_key_that_never_is_there(
    prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[tuple[Any, ...]] = []

    async def evalsha(*words: Any) -> str:
        sent.append(words[1:])
        if len(sent) == 1:
            raise ResponseError("command not allowed when used memory > 'maxmemory'")
        return "done"

    async def allowed(*_: Any) -> None: ...

    redis, keys = Redis(), Keys(prefix)
    monkeypatch.setattr(redis, "evalsha", evalsha)
    monkeypatch.setattr(module, "check", allowed)
    (look,) = scripts(redis, "client", keys, "look")
    assert await look(args=["q", "a"]) == "done"
    declared = (2, f"{prefix}mill:epoch", f"{prefix}mill:nothing")
    assert sent == [(*declared, "q", "a")] * 2  # on a server that is full, too
