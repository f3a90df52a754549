"""One request, for whichever provider: what is translated, what is for one alone, and what cannot be said."""

from __future__ import annotations

import json
from typing import Any

import pytest

from client import InvalidRequest, errors
from client.limits.rules.estimate import output_tokens
from client.requests import chat_request, embed_request
from client.wire.extras import extra_for, scoped
from client.wire.schemas import ChatRequest, EmbedRequest
from promptmill.dialects import Provider, dialect_of
from promptmill.dialects.openai.batch import from_batch

HOSTS = {"openai": "https://h.test/v1", "anthropic": "https://h.test/v1", "gemini": "https://h.test/v1beta"}
OWN = "https://api.openai.com/v1"
IMAGE = {"type": "image_url", "image_url": {"url": "https://x.test/a.png"}}
BLANK = {"type": "text", "text": " \n"}


def provider(kind: str, url: str | None = None, name: str = "p") -> Provider:
    return dialect_of(kind)(name, url or HOSTS[kind], "sk-1", "P_API_KEY")


def body(kind: str, *messages: dict[str, Any], url: str | None = None, **fields: Any) -> dict[str, Any]:
    request = ChatRequest.model_validate(
        {"messages": messages or [{"role": "user", "content": "Hi"}], **fields}
    )
    read: dict[str, Any] = json.loads(provider(kind, url).render_chat(request, "m").body)
    return read


def call(call_id: str | None, name: str = "f") -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": "{}"}}


def result(call_id: str, content: Any = "1") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "content": content}


def said(*calls: dict[str, Any], content: Any = None) -> dict[str, Any]:
    return {"role": "assistant", "content": content, "tool_calls": list(calls)}


USER = {"role": "user", "content": "Go on"}

# -- one limit ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        {"max_tokens": 7},
        {"max_completion_tokens": 7},
        {"extra": {"max_tokens": 7}},
        {"extra": {"max_completion_tokens": 7}},
        {"max_tokens": 9, "max_completion_tokens": 7},
        {"max_tokens": None, "extra": {"max_completion_tokens": 7}},
        {"extra": {"generationConfig": {"maxOutputTokens": 7}}},
    ],
)
def test_the_limit_of_tokens_is_one_however_it_is_given(fields: dict[str, Any]) -> None:
    assert output_tokens(chat_request("Hi", **fields)) == 7
    assert {k: v for k, v in body("openai", **fields).items() if k.startswith("max_")} == {"max_tokens": 7}
    assert {k: v for k, v in body("openai", url=OWN, **fields).items() if k.startswith("max_")} == {
        "max_completion_tokens": 7
    }
    assert body("anthropic", **fields)["max_tokens"] == 7
    assert body("gemini", **fields)["generationConfig"]["maxOutputTokens"] == 7


def test_a_limit_of_a_batch_line_is_the_requests_own() -> None:
    line = {"body": {"messages": [USER], "max_completion_tokens": 7, "user": "u"}}
    assert from_batch(line) == {"messages": [USER], "max_tokens": 7, "extra": {"user": "u"}}


# -- extra: by every door ----------------------------------------------------------------------------

OWN_FIELDS = sorted(ChatRequest.model_fields.keys() - {"metadata", "max_tokens"})


@pytest.mark.parametrize("name", [*OWN_FIELDS, "prompt", "contents", "system"])
@pytest.mark.parametrize("scope", ["", "openai/", "@gemini/"])
def test_what_the_request_has_a_field_for_is_not_in_extra(name: str, scope: str) -> None:
    with pytest.raises(InvalidRequest, match=rf"^extra: it cannot hold {name}\b"):
        chat_request("Hi", extra={f"{scope}{name}": True})


@pytest.mark.parametrize("extra", [{"n": 2}, {"best_of": 2}, {"generationConfig": {"candidateCount": 2}}])
def test_several_answers_cannot_be_asked_for(extra: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest, match=r"^extra: it cannot"):
        chat_request("Hi", extra=extra)


@pytest.mark.parametrize(
    "extra",
    [
        {"stream": True},
        {"model": "x"},
        {"input": "x"},
        {"texts": []},
        {"dimensions": 3},
        {"encoding_format": "int8"},
    ],
)
def test_an_embeddings_extra_is_checked_too(extra: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest, match=r"^extra: it"):
        embed_request("Hi", extra=extra)
    assert embed_request("Hi", extra={"encoding_format": "base64", "taskType": "x"}).extra


def test_metadata_in_extra_is_the_providers_own() -> None:
    assert body("openai", metadata={"mine": 1}, extra={"metadata": {"theirs": "1"}})["metadata"] == {
        "theirs": "1"
    }


# -- extra: for one alone ----------------------------------------------------------------------------

EXTRA = {"a": 1, "@openai/a": 2, "p/a": 3, "b": 1, "@openai/b": 2, "q/b": 9, "@gemini/c": 9, "d": None}


def test_a_field_goes_to_whom_it_names_and_the_closest_name_stands() -> None:
    assert extra_for(EXTRA, "p", "openai") == {"a": 3, "b": 2}
    assert extra_for(EXTRA, "x", "gemini") == {"a": 1, "b": 1, "c": 9}
    assert extra_for({"stream_options": None}, "p", "openai") == {"stream_options": None}


def test_on_the_way_to_another_model_what_names_nobody_stays_with_its_form() -> None:
    moved = scoped({"reasoning_effort": "low", "q/b": 1, "@gemini/c": 2}, "openai")
    assert moved == {"@openai/reasoning_effort": "low", "q/b": 1, "@gemini/c": 2}
    assert scoped(moved, "anthropic") == moved
    assert "reasoning_effort" not in body("anthropic", extra=moved)
    assert body("openai", extra=moved)["reasoning_effort"] == "low"
    assert ChatRequest.model_validate({"messages": [USER], "extra": moved}).extra == moved


def test_embeddings_get_their_own_fields_only() -> None:
    request = EmbedRequest.model_validate({"texts": ["a"], "extra": {"@gemini/taskType": "x", "user": "u"}})
    assert json.loads(provider("openai").render_embed(request, "m").body).keys() == {
        "model", "input", "encoding_format", "user",
    }  # fmt: skip
    assert json.loads(provider("gemini").render_embed(request, "m").body)["requests"][0]["taskType"] == "x"


def test_the_parts_of_an_object_join_those_that_the_request_makes() -> None:
    format_ = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}}
    config = body("anthropic", response_format=format_, extra={"output_config": {"effort": "low"}})[
        "output_config"
    ]
    assert config == {"format": {"type": "json_schema", "schema": {"type": "object"}}, "effort": "low"}


# -- roles and addresses -----------------------------------------------------------------------------


def test_the_developer_is_the_system_off_openai() -> None:
    developer = {"role": "developer", "content": "Be brief."}
    assert body("openai", developer, USER)["messages"][0]["role"] == "system"
    assert body("openai", developer, USER, url=OWN)["messages"][0]["role"] == "developer"
    assert body("anthropic", developer, USER)["system"] == "Be brief."
    assert body("gemini", developer, USER)["systemInstruction"] == {"parts": [{"text": "Be brief."}]}


@pytest.mark.parametrize(
    "domain", ["openai.azure.com", "services.ai.azure.com", "cognitiveservices.azure.com"]
)
def test_all_of_azures_hosts_are_known(domain: str) -> None:
    assert "max_completion_tokens" in body("openai", url=f"https://x.{domain}/openai/v1", max_tokens=5)


@pytest.mark.parametrize("kind", HOSTS)
@pytest.mark.parametrize("stream", [False, True])
def test_a_base_urls_query_stays_behind_the_path(kind: str, stream: bool) -> None:
    asked = ChatRequest.model_validate({"messages": [USER]})
    url = (
        provider(kind, f"{HOSTS[kind]}/d/?api-version=2024-10-21").render_chat(asked, "m", stream=stream).url
    )
    plain = provider(kind, f"{HOSTS[kind]}/d").render_chat(asked, "m", stream=stream).url
    assert url.path == plain.path
    assert dict(url.params) == {"api-version": "2024-10-21", **plain.params}


# -- names that a refusal tells ------------------------------------------------------------------------

TELLS = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."


@pytest.mark.parametrize(
    ("url", "message", "names"),
    [
        (None, TELLS, ["max_tokens", "max_completion_tokens"]),
        (
            OWN,
            "Unrecognized request argument supplied: max_completion_tokens",
            ["max_completion_tokens", "max_tokens"],
        ),
        (OWN, "extra fields not permitted: max_completion_tokens", ["max_completion_tokens", "max_tokens"]),
        (None, "max_tokens is too large: 9. This model supports at most 5.", ["max_tokens", "max_tokens"]),
        (None, "temperature is not supported with this model", ["max_tokens", "max_tokens"]),
    ],
)
def test_a_refusal_that_names_the_right_field_is_learned_from_once_a_model(
    url: str | None, message: str, names: list[str]
) -> None:
    asked = ChatRequest.model_validate({"messages": [USER], "max_tokens": 9})
    host, refusal = provider("openai", url), errors.BadRequest(message, status=400)

    def sent(model: str) -> str:
        (name,) = [n for n in json.loads(host.render_chat(asked, model).body) if n.startswith("max_")]
        return str(name)

    told = [sent("m")]
    host.learn(refusal, "m")
    assert [*told, sent("m")] == names
    host.learn(errors.BadRequest(f"{names[1]} is unknown; use {names[0]}", status=400), "m")
    if names[0] != names[1]:
        assert sent("m") == names[1]  # it does not go to and fro
    assert sent("other") == names[0]


def test_a_host_that_knows_no_developer_is_told_of_the_system() -> None:
    host = provider("openai", OWN)
    asked = ChatRequest.model_validate({"messages": [{"role": "developer", "content": "x"}, USER]})
    host.learn(errors.BadRequest("messages[0].role: unknown variant `developer`", status=400), "m")
    assert json.loads(host.render_chat(asked, "m").body)["messages"][0]["role"] == "system"


# -- conversations -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "behind",
    [
        [result("a"), result("b"), USER],
        [result("a"), USER, result("b")],
        [USER, result("a"), result("b")],
    ],
)
def test_results_of_parallel_calls_are_one_turn_and_come_first(behind: list[dict[str, Any]]) -> None:
    turns = body("anthropic", USER, said(call("a"), call("b")), *behind)["messages"]
    assert [turn["role"] for turn in turns] == ["user", "assistant", "user"]
    assert [block["type"] for block in turns[2]["content"]] == ["tool_result", "tool_result", "text"]
    contents = body("gemini", USER, said(call("a"), call("b")), *behind)["contents"]
    results = [c for c in contents if "functionResponse" in c["parts"][0]]
    assert [len(c["parts"]) for c in results] == [2]


def test_results_of_two_rounds_stay_apart() -> None:
    rounds = [USER, said(call("a")), result("a"), said(call("b")), result("b")]
    assert [turn["role"] for turn in body("anthropic", *rounds)["messages"]] == [
        "user", "assistant", "user", "assistant", "user",
    ]  # fmt: skip
    assert len(body("gemini", *rounds)["contents"]) == 5


def test_ids_of_calls_are_unique_and_of_what_anthropic_takes_whoever_made_them_up() -> None:
    one, two = (
        [said(call("call_0")), result("call_0")],
        [said(call("call_0"), call("f.g:1")), result("call_0")],
    )
    rounds = [*one, *two, result("f.g:1")]
    turns = body("anthropic", USER, *rounds)["messages"]
    uses = [b["id"] for t in turns if t["role"] == "assistant" for b in t["content"]]
    results = [b["tool_use_id"] for t in turns[2:] if t["role"] == "user" for b in t["content"]]
    assert uses == results == ["call_0", "call_0_2", "f_g_1"]
    twice = [said(call("x"), call("x")), result("x"), result("x")]
    turns = body("anthropic", USER, *twice)["messages"]
    assert [b["tool_use_id"] for b in turns[2]["content"]] == ["x", "x_2"]


def test_thoughts_go_back_to_anthropic_with_their_signatures_and_not_to_openai() -> None:
    thought = {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}
    turn = {**said(call("a")), "thinking_blocks": [{"index": 0, **thought}]}
    assert body("anthropic", USER, turn, result("a"))["messages"][1]["content"][0] == thought
    assert "thinking_blocks" not in body("openai", USER, turn, result("a"), url=OWN)["messages"][1]


# -- blanks ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", HOSTS)
def test_blank_parts_are_left_out_where_something_else_is_there(kind: str) -> None:
    turns = [{"role": "user", "content": [BLANK, IMAGE]}, said(call("a"), content=[BLANK]), result("a"), USER]
    sent = json.dumps(body(kind, *turns) if kind != "openai" else body(kind, turns[0], USER))
    assert "\\n" not in sent


@pytest.mark.parametrize("kind", ["anthropic", "gemini"])
def test_turns_and_system_messages_of_nothing_are_left_out(kind: str) -> None:
    system = {"role": "system", "content": [BLANK]}
    turns = [USER, {"role": "assistant", "content": ""}, {"role": "user", "content": "x"}]
    sent = body(kind, system, *turns)
    assert len(sent.get("messages") or sent["contents"]) == 2
    assert not sent.keys() & {"system", "systemInstruction"}


def test_an_empty_result_is_sent_as_one_without_a_content() -> None:
    turns = body("anthropic", USER, said(call("a")), result("a", ""))["messages"]
    assert turns[2]["content"] == [{"type": "tool_result", "tool_use_id": "a"}]


@pytest.mark.parametrize("content", ["", "  ", [BLANK], [BLANK, BLANK]])
def test_a_message_of_nothing_is_refused_before_it_is_sent(content: Any) -> None:
    with pytest.raises(InvalidRequest, match="the user message is empty"):
        chat_request([{"role": "user", "content": content}])


def test_the_older_calls_of_functions_are_calls_of_tools() -> None:
    turn = {"role": "assistant", "function_call": {"name": "f", "arguments": '{"a":1}'}}
    answer = {"role": "function", "name": "f", "content": "12"}
    turns = body("anthropic", USER, turn, answer)["messages"]
    assert turns[1]["content"] == [
        {"type": "tool_use", "id": "function_call_1", "name": "f", "input": {"a": 1}}
    ]
    assert turns[2]["content"] == [{"type": "tool_result", "tool_use_id": "function_call_1", "content": "12"}]
    contents = body("gemini", USER, turn, answer)["contents"]
    assert contents[1]["parts"] == [{"functionCall": {"name": "f", "args": {"a": 1}}}]
    assert contents[2]["parts"] == [{"functionResponse": {"name": "f", "response": {"result": "12"}}}]
