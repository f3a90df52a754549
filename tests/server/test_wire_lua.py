"""The texts that one side writes and the other reads: Python's reading of them is Lua's."""

from __future__ import annotations

import json
from collections.abc import Awaitable
from typing import Any, cast

import pytest

from client import Queue
from client.limits.calls import Ticket
from client.limits.rules.limit import checked_name
from client.redis.texts import whole
from client.wire.keys import Keys
from client.wire.lane import limit_keys_of, provider_of
from client.wire.limit_keys import is_metered, keys_of
from client.wire.reservation import reserving
from client.wire.token import claimed_us
from client.wire.use import NOTHING, use
from tests.conftest import KEYS

# as a worker publishes them
ALIASES = {"@chat": checked_name("OpenAI/gpt-4o-mini"), "@embed": checked_name("voyage/voyage-3")}
LANES = [
    ("openai/gpt-4o", ("openai/gpt-4o", "openai")),
    ("openai/GPT-4o", ("openai/GPT-4o", "openai")),
    ("local/org/m:7b.q4", ("local/org/m:7b.q4", "local")),
    ("@chat", ("openai/gpt-4o-mini", "openai")),
    ("@embed", ("voyage/voyage-3", "voyage")),
    ("@chat/gpt-4o", ("openai/gpt-4o", "openai")),
    ("@chat/org/m|gpu", ("openai/org/m", "openai", "gpu")),
    ("@embed/voyage-3-lite", ("voyage/voyage-3-lite", "voyage")),
    (
        "p/m|tenant:acme|conversation:42|gpu|nightly|bulk",
        ("p/m", "p", "tenant:acme", "conversation:42", "gpu", "nightly", "bulk"),
    ),
    ("p/m|tenant:a|gpu|p", ("p/m", "p", "tenant:a", "gpu")),
    ("p/m|gpu|p|p/m", ("p/m", "p", "gpu")),
    ("bulk", ("bulk",)),
    ("tenant:acme/eu|bulk", ("tenant:acme/eu", "bulk")),
    ("tenant:acme|p/m", ("tenant:acme", "p/m")),
    ("p/m|gpu", ("p/m", "p", "gpu")),
    ("/m", ("/m",)),
    ("p/", ("p/",)),
    ("@other/m|gpu", ("@other/m", "gpu")),
    ("cpu", ("cpu",)),
    ("cpu|tenant:a", ("cpu", "tenant:a")),
    ("cpus", ("cpus",)),
]


async def lua(queue: Queue, code: str, *args: Any) -> Any:
    """What an expression comes to; ARGV are its arguments."""
    text = whole(f"-- needs: congestion\nreturn cjson.encode({{ {code} }})", "client.limits", KEYS)
    reply = cast(Awaitable[str], queue.session.redis.eval(text, 0, *args))
    return json.loads(await reply)


@pytest.mark.parametrize(
    "key",
    [
        "",
        "a",
        "arq:queue",
        "mill:lane:a",
        "mill:lanes",
        "arq:job:a",
        "{b}:",
        "{b}:mill:lane:a",
        "{B}:a",
        "{b}a",
    ],
)
async def test_what_can_be_a_lane_is_in_the_same_namespace(queue: Queue, key: str) -> None:
    code = "-- needs: names\nreturn is_lane(ARGV[1]) and 1 or 0"
    for keys in (KEYS, Keys("{a}:")):
        for name in (key, f"{{a}}:{key}"):
            text = whole(code, "client", keys)
            reply = await cast(Awaitable[int], queue.session.redis.eval(text, 0, name))
            assert (reply == 1) == keys.is_lane(name), name


@pytest.mark.parametrize(("name", "keys"), LANES)
async def test_a_lane_has_its_limit_keys_and_its_place(
    any_queue: Queue, name: str, keys: tuple[str, ...]
) -> None:
    lane, aliases = KEYS.lane(name), json.dumps(ALIASES)
    found = await lua(any_queue, "unpack(keys_of(ARGV[1], cjson.decode(ARGV[2])))", lane, aliases)
    assert tuple(found) == keys == tuple(limit_keys_of(name, ALIASES))
    first = name.split("|")[0]
    [provider, place] = await lua(any_queue, "provider_of(ARGV[1]) or '', lanes_of(ARGV[2])", first, lane)
    assert (provider or None, place) == (provider_of(first), KEYS.lanes_of(lane))


@pytest.mark.parametrize("queue_key", ["arq:queue", "arq:json", "staging", "mill:lanes", "lane:cpu"])
async def test_a_queue_with_a_name_of_its_own_waits_apart(any_queue: Queue, queue_key: str) -> None:
    [named, place] = await lua(any_queue, "is_named(ARGV[1]), lanes_of(ARGV[1])", queue_key)
    assert (named, place) == (KEYS.is_named(queue_key), KEYS.lanes_of(queue_key))
    assert named is (queue_key != KEYS.queue)


async def test_a_token_tells_its_moment(any_queue: Queue) -> None:
    code = "string.format('%.0f', now_us), new_token('host:7:abc')"
    [us, token] = await lua(any_queue, code)
    assert claimed_us(token) == claimed_us(token.encode()) == int(us)
    code = "string.format('%.3f', claimed_ms(ARGV[1])), is_ours(ARGV[1]), is_ours('1')"
    assert await lua(any_queue, code, token) == [f"{int(us) / 1000:.3f}", True, False]
    for strange in ("1", "ended", "mill:", "mill:x:y"):
        with pytest.raises(ValueError, match=r"token|invalid"):
            claimed_us(strange)


@pytest.mark.parametrize(("tokens", "output"), [(0, 0), (1_200, 400), (7, -1)])
async def test_a_payload_tells_what_it_reserves(any_queue: Queue, tokens: int, output: int) -> None:
    payload = reserving(b'{"t":null,"f":"chat"}', tokens, output)
    assert json.loads(payload) == {"n": tokens, "m": output, "t": None, "f": "chat"}
    assert await lua(any_queue, "read_reservation(ARGV[1])", payload) == [tokens, output]
    for other in (b'{"t":null}', b'{"n": 1,"m":2,"t":1}', b'{"m":2,"n":1,"t":1}', b"[]"):
        assert await lua(any_queue, "(read_reservation(ARGV[1])) or 'none'", other) == ["none"]


async def test_limit_keys_are_read_as_they_are_written(any_queue: Queue) -> None:
    found = "{ { key = 'p/m', model = true }, { key = 'p', metered = true }, { key = 'tenant:ä' } }"
    [text] = await lua(any_queue, f"write_names({found})")
    assert keys_of(text) == ("p/m", "p", "tenant:ä")
    assert is_metered(text)
    assert await lua(any_queue, "read_names(ARGV[1]).keys, read_names(ARGV[1]).metered", text) == [
        ["p/m", "p", "tenant:ä"],
        ["p/m", "p"],
    ]
    assert (keys_of(""), keys_of("bulk"), is_metered("bulk")) == ((), ("bulk",), False)


async def test_the_words_of_a_use_are_read_as_they_are_written(any_queue: Queue) -> None:
    words = use(1, -20, 0.000_012_5, output_tokens=40, signal="overloaded", wait_s=1.5)
    assert words == "1 -20 1.25e-05 40 overloaded 1500"
    assert NOTHING == "0 0 0 -1 - 0"
    settled = "(function() settle(states_of({ 'bulk' }), now, ARGV[1]) return 'settled' end)()"
    for text in (words, NOTHING, use(signal="ok"), use(1, signal="unreached", wait_s=0.25)):
        assert await lua(any_queue, settled, text) == ["settled"]


async def test_a_ticket_is_read_as_it_is_written(any_queue: Queue) -> None:
    ticket = Ticket("!p-1", KEYS.calls_channel("p"), ("p/m", "p"), 90, 15.0)
    [read] = await lua(any_queue, "read_ticket(ARGV[1])", str(ticket))
    assert read == {
        "id": "!p-1",
        "channel": ticket.channel,
        "keys": ["p/m", "p"],
        "lease_ms": 15_000,
        "input": 90,
        "output": -1,
    }
