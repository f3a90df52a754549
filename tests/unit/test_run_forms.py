"""Files that are almost right: read as what they are, or refused in one sentence, with nothing sent on a guess."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from client.wire.schemas import ChatRequest, EmbedRequest
from promptmill.cli.run.items import Invalid, Item
from promptmill.cli.run.options import InputError, RunOptions
from promptmill.cli.run.plan import open_plan
from tests.unit.test_run_fake import SETTINGS, check

AZURE = "https://x.openai.azure.com/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21"
CHAT = {"messages": [{"role": "user", "content": "x"}]}


def items_of(path: Path, **changes: Any) -> list[Item]:
    opts = RunOptions(str(path), path.with_name("out.jsonl"), **{"skip_invalid": True, **changes})
    with open_plan(opts, SETTINGS) as plan:
        return [item for item in plan.items.items() if isinstance(item, Item)]


def prompts_of(path: Path, **changes: Any) -> list[str]:
    requests = [item.request() for item in items_of(path, **changes)]
    return [str(r.messages[-1].content) for r in requests if isinstance(r, ChatRequest)]


def refusal_of(path: Path, **changes: Any) -> str:
    with pytest.raises(InputError) as refusal:
        check(RunOptions(str(path), path.with_name("out.jsonl"), **changes), SETTINGS)
    return str(refusal.value)


# -- tables ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("mark", [",", "\t", ";", "|"])
@pytest.mark.parametrize("name", ["in.csv", "in.tsv", "in.tab"])
def test_what_separates_the_columns_is_read_from_the_header(tmp_path: Path, mark: str, name: str) -> None:
    (tmp_path / name).write_text(f'custom_id{mark}text\na{mark}"x{mark} y"\nb{mark}z\n')
    assert prompts_of(tmp_path / name, template="{text}") == [f"x{mark} y", "z"]
    (tmp_path / name).write_text(f'prompt{mark}custom_id\n"x{mark} y"{mark}a\n')
    assert [item.custom_id for item in items_of(tmp_path / name)] == ["a"]
    (tmp_path / name).write_text(f"id{mark}text\n1{mark}one\n")
    assert "has no column 'prompt'" in refusal_of(tmp_path / name)
    assert "it has id, text" in refusal_of(tmp_path / name, template="{absent}")


def test_a_comma_in_a_header_of_semicolons_does_not_mislead(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text('a, b;prompt;"c,d,e"\n1,5;x;2\n')
    assert prompts_of(tmp_path / "in.csv") == ["x"]


def test_a_name_that_is_needed_twice_in_a_header_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_text("prompt,prompt\nfirst,second\n")
    assert "has 2 columns named 'prompt'" in refusal_of(path)
    path.write_text("prompt,custom_id,custom_id\na,1,2\n")
    assert "has 2 columns named 'custom_id'" in refusal_of(path)
    path.write_text("text,x,text\na,1,2\n")
    assert "has 2 columns named 'text'" in refusal_of(path, template="{text}")
    path.write_text("prompt,x,x,,\na,1,2,,\n")  # which of these is meant does not matter
    assert prompts_of(path) == ["a"]


@pytest.mark.parametrize("name", ["in.txt", "in", "in.data"])
@pytest.mark.parametrize(
    ("text", "seems"),
    [
        ("id\ttext\n1\tone\n2\ttwo\n", "a table: say --format csv"),
        ("id,prompt\n1,one\n", "a table: say --format csv"),
        ('"prompt";"id"\n', "a table: say --format csv"),
        ('[\n  {\n    "prompt": "a"\n  }\n]\n', "JSON"),
        ('[{"prompt": "a"}]', "JSON"),
        ('["a", "b"]', "JSON"),
    ],
)
def test_a_file_of_prompts_that_seems_to_be_another_is_refused(
    tmp_path: Path, name: str, text: str, seems: str
) -> None:
    (tmp_path / name).write_text(text)
    assert f"seems to be {seems}" in refusal_of(tmp_path / name) or "one JSON array" in refusal_of(
        tmp_path / name
    )
    assert len(prompts_of(tmp_path / name, format="text")) == len(text.splitlines())


def test_json_in_a_file_of_text_is_not_sent_as_a_prompt(tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text('{"prompt": "a"}\n{"prompt": "b"}\n')
    assert "seems to be JSON: say --format jsonl" in refusal_of(tmp_path / "in.txt")
    assert prompts_of(tmp_path / "in.txt", format="jsonl") == ["a", "b"]


@pytest.mark.parametrize(
    "text",
    ["[INST] hello\n[INST] you\n", "a\tb\n", "a, b or c?\nd, e or f?\n", "{curly\n", "a\tb\nc\n", "[1]"],
)
def test_what_may_be_prompts_is_taken_for_prompts(tmp_path: Path, text: str) -> None:
    (tmp_path / "in.txt").write_text(text)
    assert prompts_of(tmp_path / "in.txt") == text.splitlines()


# -- JSON ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["in.json", "in.jsonl", "in"])
def test_an_array_is_refused_in_one_sentence(tmp_path: Path, name: str) -> None:
    for indent in (None, 2):
        (tmp_path / name).write_text(json.dumps([{"prompt": f"p{n}"} for n in range(300)], indent=indent))
        assert "seems to be one JSON array" in refusal_of(tmp_path / name)


def test_an_indented_object_is_refused_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "in.json").write_text(json.dumps({"prompt": "x", "metadata": {"a": 1}}, indent=2))
    assert "seems to be JSON over several lines" in refusal_of(tmp_path / "in.json")


def test_a_batch_file_of_anthropics_is_refused_in_one_sentence(tmp_path: Path) -> None:
    line = json.dumps({"custom_id": "a", "params": {"model": "claude", "max_tokens": 5, **CHAT}})
    (tmp_path / "in.jsonl").write_text(f"{line}\n" * 100)
    assert "seems to be a batch file of Anthropic's" in refusal_of(tmp_path / "in.jsonl")


@pytest.mark.parametrize(
    "line",
    [
        '{"prompt": "a", "prompt": "b"}',
        '{"prompt": "a", "metadata": {"x": 1, "x": 2, "prompt": 3}}',
        json.dumps({"body": CHAT}).replace('"messages"', '"messages": [], "messages"'),
    ],
)
def test_a_name_twice_in_an_object_is_a_fault(tmp_path: Path, line: str) -> None:
    (tmp_path / "in.jsonl").write_text(f'{line}\n{{"prompt": "good"}}\n')
    faults: list[Invalid] = []
    opts = RunOptions(str(tmp_path / "in.jsonl"), tmp_path / "o", skip_invalid=True)
    check(opts, SETTINGS, on_invalid=faults.append)
    assert [(fault.line, "twice" in fault.reason) for fault in faults] == [(1, True)]


def test_a_name_that_stands_in_a_prompt_is_no_name_twice(tmp_path: Path) -> None:
    prompt = 'Write {"prompt": "x"} as {"messages": []}'
    (tmp_path / "in.jsonl").write_text(json.dumps({"prompt": prompt, "metadata": {"prompt": 1}}))
    assert prompts_of(tmp_path / "in.jsonl") == [prompt]


# -- an open quote ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "lost"),
    [
        (
            ['"never closed,1', *[f"{n},1" for n in range(4, 1001)]],
            "lines 3 to 1,000 together: 998 lines are lost",
        ),
        (['"closed late,1', "b,1", 'c",1,2', "good,1"], "lines 3 to 5 together: 3 lines are lost"),
        (['"closed late,1', "b,1", '"c",1', "good,1"], "lines 3 to 5 together: 3 lines are lost"),
    ],
)
def test_an_open_quote_tells_how_far_it_goes_and_all_of_it_counts(
    tmp_path: Path, rows: list[str], lost: str
) -> None:
    path = tmp_path / "in.csv"
    path.write_text("\n".join(["prompt,x", "a,1", *rows, ""]))
    faults: list[Invalid] = []
    report = check(
        RunOptions(str(path), tmp_path / "o", skip_invalid=True), SETTINGS, on_invalid=faults.append
    )
    assert lost in faults[0].reason
    assert (report.invalid, report.total) == (faults[0].lines, 1 + len(rows))
    assert f"{report.invalid} of {report.total:,} lines cannot be sent" in refusal_of(path)


def test_a_field_of_a_few_lines_stays_one_prompt(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text('prompt,x\n"a\n\nb",1\nc,2\n')
    assert prompts_of(tmp_path / "in.csv") == ["a\n\nb", "c"]


def test_one_bad_line_of_many_is_spoken_of_in_the_plural(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"prompt": "a"}\nx\n')
    assert refusal_of(tmp_path / "in.jsonl").startswith("1 of 2 lines cannot be sent")
    (tmp_path / "in.jsonl").write_text('{"promptt": "a"}\n')
    assert refusal_of(tmp_path / "in.jsonl").startswith("1 of 1 line cannot be sent")


# -- what a line may say ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "kind", "model"),
    [
        ({"url": "/chat/completions"}, ChatRequest, "openai/gpt-4o-mini"),
        ({"url": "/v1/chat/completions/", "method": "post"}, ChatRequest, "openai/gpt-4o-mini"),
        ({"url": "https://api.openai.com/v1/chat/completions"}, ChatRequest, "openai/gpt-4o-mini"),
        ({"url": AZURE, "method": None}, ChatRequest, "gpt-4o"),
        (
            {"url": "/deployments/own/chat/completions", "body": {"model": "openai/x", **CHAT}},
            ChatRequest,
            "openai/x",
        ),
        ({"url": None}, ChatRequest, "openai/gpt-4o-mini"),
        ({"url": "/embeddings", "body": {"input": "x", "encoding_format": "base64"}}, EmbedRequest, None),
        ({"url": "/openai/deployments/e/embeddings", "body": {"input": ["x"]}}, EmbedRequest, "e"),
        ({"url": "/v1/embeddings", "body": {"input": ["x"], "encoding_format": None}}, EmbedRequest, None),
    ],
)
def test_what_the_address_of_a_batch_line_plainly_means_is_taken(
    tmp_path: Path, line: dict[str, Any], kind: type, model: str | None
) -> None:
    (tmp_path / "in.jsonl").write_text(json.dumps({"custom_id": "a", "body": CHAT, **line}))
    (item,) = items_of(tmp_path / "in.jsonl", check_providers=False, skip_invalid=False)
    request = item.request()
    assert isinstance(request, kind)
    assert request.model == (model if model != "openai/gpt-4o-mini" else None)
    assert request.extra == {}


@pytest.mark.parametrize(
    "url", ["/v1/responses", "/v1/completions", "/v1/messages", "/chat", "", 5, "/embeddings/x"]
)
def test_an_address_of_another_kind_is_refused(tmp_path: Path, url: Any) -> None:
    (tmp_path / "in.jsonl").write_text(json.dumps({"custom_id": "a", "url": url, "body": CHAT}))
    assert "1 of 1 line cannot be sent" in refusal_of(tmp_path / "in.jsonl")


def test_null_is_absent_in_a_line_and_in_a_body(tmp_path: Path) -> None:
    names = [
        *ChatRequest.model_fields,
        *EmbedRequest.model_fields,
        "custom_id",
        "body",
        "url",
        "method",
        "system",
    ]
    nulls = dict.fromkeys(names)
    body = {**nulls, **CHAT, "user": None, "n": None, "stream": None, "logprobs": None}
    lines = [{**nulls, "prompt": "x"}, {**nulls, **CHAT}, {**nulls, "body": body}, {**nulls, "texts": ["x"]}]
    (tmp_path / "in.jsonl").write_text("\n".join(map(json.dumps, lines)))
    items = items_of(tmp_path / "in.jsonl", skip_invalid=False)
    assert len({item.hash for item in items[:3]}) == 1
    assert items[0].request() == items[2].request() == ChatRequest.model_validate(CHAT)
    assert items[3].request() == EmbedRequest(texts=["x"])


@pytest.mark.parametrize(("custom_id", "name"), [(5, "5"), (2.5, "2.5"), ("5", "5")])
def test_an_id_may_be_a_number(tmp_path: Path, custom_id: Any, name: str) -> None:
    (tmp_path / "in.jsonl").write_text(json.dumps({"custom_id": custom_id, "prompt": "x"}))
    assert [item.custom_id for item in items_of(tmp_path / "in.jsonl")] == [name]


@pytest.mark.parametrize("field", ["metadata", "extra"])
@pytest.mark.parametrize("value", ["1e999", "-1e999", "[" * 198 + "]" * 198, "1" * 4_301])
def test_what_could_not_be_read_back_is_refused_at_the_check(tmp_path: Path, field: str, value: str) -> None:
    (tmp_path / "in.jsonl").write_text(f'{{"prompt": "x", "{field}": {{"d": {value}}}}}\n')
    assert "cannot be sent" in refusal_of(tmp_path / "in.jsonl")
