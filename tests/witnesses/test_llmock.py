"""What llmock, a simulator that is not ours, says of nine providers' APIs is read as it is meant."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest

from client import errors
from client.wire.schemas import EmbedRequest
from tests.witnesses.given_witness import GREETING, TOOLS, Witness, after_a_tool, served

HOSTS = {
    "openai2": ("openai", "/v1"),
    "groq": ("openai", "/groq/openai/v1"),
    "mistral": ("openai", "/mistral/v1"),
    "together": ("openai", "/together/v1"),
    "perplexity": ("openai", "/perplexity/v1"),
    "xai": ("openai", "/xai/v1"),
    "ai21": ("openai", "/ai21/v1"),
    "claude": ("anthropic", "/anthropic"),
    "google": ("gemini", "/gemini/v1beta"),
}
RPM, TPM = 1_000_000, 2_000_000_000  # far more than these tests ask for

each_host = pytest.mark.parametrize("host", HOSTS)
both_ways = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])


@pytest.fixture(scope="module")
def _url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    yield from served("llmock", tmp_path_factory.mktemp("l"), "--rpm", str(RPM), "--tpm", str(TPM))


class Scripted(Witness):
    """It does next what it is told."""

    def __init__(self, url: str) -> None:
        super().__init__(url, HOSTS)
        self._control = f"{url}/_llmock/scenario"

    async def next(self, type_: str, **fields: Any) -> None:
        async with httpx.AsyncClient(verify=False, trust_env=False) as http:
            answer = await http.post(self._control, json={"behaviors": [{"type": type_, **fields}]})
            answer.raise_for_status()


@pytest.fixture
async def witness(_url: str) -> AsyncIterator[Scripted]:
    witness = Scripted(_url)
    async with httpx.AsyncClient(verify=False, trust_env=False) as http:
        await http.delete(f"{_url}/_llmock/scenario")
    yield witness
    await witness.llm.close()


@each_host
async def test_an_answer_is_the_same_plain_and_streamed(witness: Scripted, host: str) -> None:
    answers = []
    for stream in (False, True):
        await witness.next("reply", text=GREETING)
        answers.append(await witness.ask(host, "hello", stream=stream))
    plain, streamed = answers
    assert (plain.text, plain.finish_reason, plain.tool_calls) == (GREETING, "stop", [])
    assert plain.usage.input_tokens
    assert plain.usage.output_tokens
    told = ("text", "finish_reason", "usage", "model", "reasoning")
    assert [getattr(plain, name) for name in told] == [getattr(streamed, name) for name in told]


@each_host
@both_ways
async def test_parallel_tool_calls_beside_text(witness: Scripted, host: str, stream: bool) -> None:
    called = [{"name": "get_weather", "arguments": {"city": city}} for city in ("Zürich", "Oslo")]
    await witness.next("reply", text="One moment.", tool_calls=called)
    answer = await witness.ask(host, "What is the weather?", stream=stream, tools=TOOLS)
    calls = answer.tool_calls
    assert [call["function"]["name"] for call in calls] == ["get_weather"] * 2
    assert [json.loads(call["function"]["arguments"])["city"] for call in calls] == ["Zürich", "Oslo"]
    assert len({call["id"] for call in calls}) == 2
    assert (answer.text, answer.finish_reason) == ("One moment.", "tool_calls")


@each_host
@both_ways
async def test_a_tool_is_called_and_its_result_understood(witness: Scripted, host: str, stream: bool) -> None:
    called = await witness.ask(host, "What is the weather?", stream=stream, tools=TOOLS)
    assert [call["function"]["name"] for call in called.tool_calls] == ["get_weather"]
    answer = await witness.ask(host, "", stream=stream, messages=after_a_tool(), tools=TOOLS)
    assert answer.text
    assert not answer.tool_calls


@each_host
@both_ways
@pytest.mark.parametrize(
    ("refusal", "kind"),
    [
        ({"status": 429, "retry_after": 7.5}, errors.RateLimited),
        ({"status": 429, "code": "insufficient_quota", "message": "No credit."}, errors.QuotaExhausted),
        ({"status": 402}, errors.QuotaExhausted),
        ({"status": 500}, errors.ServerError),
        ({"status": 503}, errors.Overloaded),
        ({"status": 529}, errors.Overloaded),
        ({"status": 401}, errors.AuthenticationFailed),
        ({"status": 403}, errors.PermissionRefused),
        ({"status": 404}, errors.ModelNotFound),
        ({"status": 408}, errors.ProviderTimeout),
        ({"status": 413}, errors.ContextTooLong),
        ({"status": 400, "message": "maximum context length is 8192 tokens"}, errors.ContextTooLong),
        ({"status": 422}, errors.BadRequest),
    ],
)
async def test_a_refusal(
    witness: Scripted, host: str, stream: bool, refusal: dict[str, Any], kind: type[Exception]
) -> None:
    await witness.next("fail", **refusal)
    with pytest.raises(errors.ProviderError) as refused:
        await witness.ask(host, "hello", stream=stream)
    assert type(refused.value) is kind
    if "retry_after" in refusal:
        assert refused.value.retry_after_s == refusal["retry_after"]


@each_host
@pytest.mark.parametrize("fault", ["disconnect", "truncate", "malformed"])
async def test_a_stream_that_breaks_is_no_answer(witness: Scripted, host: str, fault: str) -> None:
    await witness.next("reply", text="Many words are still to come.")
    await witness.next("stream_fault", kind=fault, after_chunks=2)
    with pytest.raises(errors.TransientProviderError):
        await witness.ask(host, "hello", stream=True)


@each_host
@both_ways
async def test_how_an_answer_ended(witness: Scripted, host: str, stream: bool) -> None:
    for reason in ("length", "content_filter"):
        await witness.next("reply", text="Cut of", finish_reason=reason)
        answer = await witness.ask(host, "hello", stream=stream)
        assert (answer.text, answer.finish_reason) == ("Cut of", reason)
    await witness.next("reply", text="", finish_reason="content_filter")
    with pytest.raises(errors.ContentFiltered):
        await witness.ask(host, "hello", stream=stream)


@each_host
@both_ways
async def test_a_tool_that_was_not_offered_is_given_as_it_is(
    witness: Scripted, host: str, stream: bool
) -> None:
    await witness.next("tool_fault", kind="unknown_tool")
    answer = await witness.ask(host, "What is the weather?", stream=stream, tools=TOOLS)
    assert [call["function"]["name"] for call in answer.tool_calls] == ["llmock_unknown_tool"]


@pytest.mark.parametrize("host", ["openai2", "google"])
async def test_an_answer_in_json(witness: Scripted, host: str) -> None:
    schema = {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}
    form = {"type": "json_schema", "json_schema": {"name": "person", "schema": schema}}
    answer = await witness.ask(host, "hello", response_format=form)
    assert isinstance(json.loads(answer.text)["age"], int)


async def test_embeddings(witness: Scripted) -> None:
    texts = [f"text {number}" for number in range(30)]
    request = EmbedRequest(texts=texts, model="openai2/some-model")
    answer = await witness.llm.embed(request, call_id="c1")
    assert len(answer.vectors) == 30
    assert {len(vector) for vector in answer.vectors} == {1536}
    assert answer.usage.input_tokens


@pytest.mark.parametrize("host", ["openai2", "groq", "claude"])
async def test_the_rates_in_its_headers(witness: Scripted, host: str) -> None:
    await witness.ask(host, "hello")
    assert (witness.rates[host].rpm, witness.rates[host].tpm) == (RPM, TPM)
