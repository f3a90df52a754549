"""What fakellm, a simulator that is not ours, says of OpenAI's and Anthropic's APIs is read as it is meant."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from client import errors
from client.wire.schemas import EmbedRequest
from tests.witnesses.given_witness import GREETING, TOOLS, Witness, after_a_tool, served

HOSTS = {"one": ("openai", "/v1"), "two": ("anthropic", "")}

each_host = pytest.mark.parametrize("host", HOSTS)
both_ways = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])


@pytest.fixture(scope="module")
def _url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    rules = Path(__file__).with_name("fakellm.yaml")
    yield from served("fakellm", tmp_path_factory.mktemp("f"), "--config", str(rules))


@pytest.fixture
async def witness(_url: str) -> AsyncIterator[Witness]:
    witness = Witness(_url, HOSTS)
    yield witness
    await witness.llm.close()


@each_host
@both_ways
async def test_an_answer(witness: Witness, host: str, stream: bool) -> None:
    answer = await witness.ask(host, "hello", stream=stream)
    assert (answer.text, answer.finish_reason, answer.tool_calls) == (GREETING, "stop", [])
    assert answer.response_id
    if not stream:  # it tells the usage of streams in part, or not at all
        assert (answer.usage.input_tokens, answer.usage.output_tokens) == (3, 4)


@each_host
@both_ways
async def test_an_empty_answer_is_one(witness: Witness, host: str, stream: bool) -> None:
    answer = await witness.ask(host, "say nothing", stream=stream)
    assert answer.finish_reason == "stop"
    # for a stream of Anthropic's, the first event and the last one are all
    assert answer.text == ""


@each_host
@both_ways
async def test_parallel_tool_calls(witness: Witness, host: str, stream: bool) -> None:
    answer = await witness.ask(host, "What is the weather?", stream=stream, tools=TOOLS)
    calls = answer.tool_calls
    assert [call["function"]["name"] for call in calls] == ["get_weather"] * 2
    assert [json.loads(call["function"]["arguments"])["city"] for call in calls] == ["Zürich", "Oslo"]
    assert len({call["id"] for call in calls}) == 2
    assert (answer.text, answer.finish_reason) == ("", "tool_calls")


@each_host
@both_ways
async def test_a_tool_s_result_is_understood(witness: Witness, host: str, stream: bool) -> None:
    answer = await witness.ask(host, "", stream=stream, messages=after_a_tool(), tools=TOOLS)
    assert answer.text == "It is 21 degrees."


@each_host
@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("too many", errors.RateLimited),
        ("no money", errors.QuotaExhausted),
        ("break", errors.ServerError),
        ("wrong key", errors.AuthenticationFailed),
        ("busy", errors.Overloaded),
        ("too long", errors.ContextTooLong),
    ],
)
async def test_a_refusal(witness: Witness, host: str, words: str, kind: type[Exception]) -> None:
    with pytest.raises(errors.ProviderError) as refusal:  # its streams never fail
        await witness.ask(host, words)
    assert type(refusal.value) is kind


async def test_an_address_without_embeddings_is_named(witness: Witness) -> None:
    with pytest.raises(errors.ModelNotFound, match="is the address of its API"):
        await witness.llm.embed(EmbedRequest(texts=["a"], model="one/some-model"), call_id="c1")
