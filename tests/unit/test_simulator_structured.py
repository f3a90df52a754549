"""Calls of tools and JSON from the simulator, as our own providers ask for them and read them, plain and
streamed: the whole way from the neutral request to the neutral answer."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import ClientSession

from client.wire.schemas import ChatRequest
from promptmill.dialects import ChatAnswer, Route
from promptmill.dialects.anthropic import Anthropic
from promptmill.dialects.gemini import Gemini
from promptmill.dialects.openai import OpenAI
from promptmill.dialects.stream import ChatStream
from promptmill.simulator import SimulatorConfig, serve
from promptmill.simulator.structured import example

KINDS = {"openai": (OpenAI, "/v1"), "anthropic": (Anthropic, "/v1"), "gemini": (Gemini, "/v1beta")}
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "additionalProperties": False,
}
TOOLS = [
    {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}},
    {"type": "function", "function": {"name": "weather", "parameters": SCHEMA}},
]
ARGUMENTS = {"city": "simulated", "days": 1}


@pytest.fixture
async def url() -> AsyncIterator[str]:
    async with serve(SimulatorConfig(latency_s=0)) as url:
        yield url


@pytest.fixture
async def session() -> AsyncIterator[ClientSession]:
    async with ClientSession() as session:
        yield session


@pytest.fixture(params=KINDS)
def route(request: pytest.FixtureRequest, url: str) -> Route:
    kind, path = KINDS[request.param]
    return Route(kind(request.param, url.rstrip("/") + path, "test", "KEY"), "m")


async def asked(session: ClientSession, route: Route, *, stream: bool, **fields: Any) -> ChatAnswer:
    request = ChatRequest.model_validate({"messages": [{"role": "user", "content": "Hi"}], **fields})
    call = route.provider.render_chat(request, route.model, stream=stream)
    async with session.post(str(call.url), data=call.body, headers=call.headers) as response:
        assert response.status == 200, await response.text()
        if not stream:
            return route.provider.parse_chat(await response.read(), response.headers, route.model)
        reader = ChatStream(route, response.headers)
        async for chunk in response.content.iter_any():
            reader.feed(chunk)
        return reader.answer()


@pytest.mark.parametrize("stream", [False, True])
async def test_prose_is_prose(session: ClientSession, route: Route, stream: bool) -> None:
    answer = await asked(session, route, stream=stream, tools=TOOLS)
    assert answer.text.startswith("Simulated answer to: Hi")
    assert (answer.finish_reason, answer.tool_calls) == ("stop", [])
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (1, 40)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("choice", [None, "auto", {"type": "function", "function": {"name": "weather"}}])
async def test_a_tool_is_called_on_request(
    session: ClientSession, route: Route, stream: bool, choice: Any
) -> None:
    prompt = {"role": "user", "content": "Hi" if isinstance(choice, dict) else "Please call weather."}
    answer = await asked(session, route, stream=stream, tools=TOOLS, tool_choice=choice, messages=[prompt])
    (call,) = answer.tool_calls
    assert (answer.finish_reason, answer.text) == ("tool_calls", "")
    assert call["function"]["name"] == "weather"
    assert json.loads(call["function"]["arguments"]) == ARGUMENTS
    said = {"role": "assistant", "content": None, "tool_calls": answer.tool_calls}
    result = {"role": "tool", "tool_call_id": call["id"], "content": "rain"}
    after = await asked(session, route, stream=stream, tools=TOOLS, messages=[prompt, said, result])
    assert (after.finish_reason, after.tool_calls) == ("stop", [])


async def test_any_tool_and_no_tool_can_be_demanded(session: ClientSession, route: Route) -> None:
    prompt = [{"role": "user", "content": "call weather"}]
    any_tool = await asked(session, route, stream=False, tools=TOOLS, tool_choice="required")
    assert any_tool.tool_calls[0]["function"]["name"] == "now"
    none = await asked(session, route, stream=False, tools=TOOLS, tool_choice="none", messages=prompt)
    assert none.tool_calls == []


@pytest.mark.parametrize("stream", [False, True])
async def test_json_is_valid_and_of_its_schema(session: ClientSession, route: Route, stream: bool) -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "forecast", "schema": SCHEMA}}
    answer = await asked(session, route, stream=stream, response_format=wanted)
    assert json.loads(answer.text) == ARGUMENTS
    assert answer.finish_reason == "stop"


async def test_json_without_a_schema_is_valid(session: ClientSession, route: Route) -> None:
    if route.provider.name == "anthropic":
        pytest.skip("Anthropic has no JSON mode without a schema")
    answer = await asked(session, route, stream=False, response_format={"type": "json_object"})
    assert json.loads(answer.text) == {"answer": "Hi"}


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"enum": ["a", "b"]}, "a"),
        ({"const": 7}, 7),
        ({"type": ["number", "null"]}, 1.5),
        ({"type": "array", "items": {"type": "boolean"}}, [True]),
        ({"anyOf": [{"type": "STRING"}]}, "simulated"),
        ({"properties": {"a": {"$ref": "#/$defs/A"}}, "$defs": {"A": {"type": "integer"}}}, {"a": 1}),
        ("nonsense", {}),
    ],
)
def test_an_example_is_what_its_schema_allows(schema: Any, value: Any) -> None:
    assert example(schema) == value


def test_a_schema_that_holds_itself_has_an_end() -> None:
    node: dict[str, Any] = {"properties": {"next": {"$ref": "#"}}}
    assert example({**node, "$defs": {}})["next"] is not None
