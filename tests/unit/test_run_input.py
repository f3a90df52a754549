"""Bad input, tried: each fault gets its line's number and one sentence, and nothing is sent."""

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from client.wire.schemas import MAX_PROMPT_BYTES, ChatRequest, EmbedRequest
from promptmill.cli.run.items import Invalid, Item
from promptmill.cli.run.options import Defaults, InputError, RunOptions
from promptmill.cli.run.plan import open_plan
from settings import Settings
from tests.unit.test_run_fake import (
    SETTINGS,
    Server,
    check,
    complete,
    options,
    read_lines,
    texts,
    write_prompts,
)


def items_of(opts: RunOptions) -> list[Item]:
    with open_plan(opts, SETTINGS) as plan:
        return [item for item in plan.items.items() if isinstance(item, Item)]


def faults_of(opts: RunOptions, settings: Settings = SETTINGS) -> list[tuple[int, str]]:
    faults: list[Invalid] = []
    with pytest.raises(InputError, match="cannot be sent, so nothing was"):
        check(opts, settings, on_invalid=faults.append)
    return [(fault.line, fault.reason) for fault in faults]


def prompts_of(opts: RunOptions) -> list[str]:
    requests = [item.request() for item in items_of(opts)]
    return [str(r.messages[-1].content) for r in requests if isinstance(r, ChatRequest)]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{not json", "it is not JSON: key must be a string at character 2."),
        (b'{"prompt": "a"', "it is not JSON: EOF while parsing an object"),
        (b'{"prompt": NaN}', "it is not JSON"),
        (b"[1]", "it must be a JSON object, not a list."),
        (b'"text"', "it must be a JSON object, not a text."),
        (b"null", "it must be a JSON object, not null."),
        (b"{}", 'it has none of "prompt", "messages", "texts" and "body".'),
        (b'{"prompt": 7}', "its prompt must be a text, not a number."),
        (b'{"prompt": null}', 'it has none of "prompt", "messages", "texts" and "body".'),
        (b'{"prompt": "  "}', "its prompt is empty."),
        (b'{"prompt": "a", "temprature": 1}', "temprature: extra inputs are not permitted."),
        (b'{"prompt": "a", "temperature": 3}', "temperature: input should be less than or equal to 2."),
        (b'{"prompt": "a", "max_tokens": "x"}', "max_tokens: input should be a valid integer"),
        (b'{"prompt": "a", "model": ""}', "model: string should have at least 1 character."),
        (b'{"prompt": "a", "messages": []}', "it has both prompt and messages"),
        (b'{"messages": []}', "messages: list should have at least 1 item"),
        (b'{"messages": "hello"}', "messages: input should be a valid list."),
        (b'{"messages": [{"role": "me", "content": "a"}]}', "messages.0.role: input should be 'system'"),
        (b'{"messages": [{"role": "user", "content": ""}]}', "messages.0: the user message is empty."),
        (b'{"texts": []}', "texts: list should have at least 1 item"),
        (b'{"custom_id": [5], "prompt": "a"}', "its custom_id must be a text."),
        (b'{"custom_id": "a", "body": 5}', "its body must be a JSON object."),
        (b'{"custom_id": "a", "url": "/v1/files", "body": {}}', "its url must be /v1/chat/completions or"),
        (b'{"custom_id": "a", "method": "GET", "body": {}}', "its method must be POST."),
        (b'{"custom_id": "a", "body": {}}', "its body has no messages."),
        (b'{"custom_id": "a", "body": {"messages": [], "stream": true}}', "its answer cannot be streamed"),
        (b'{"custom_id": "a", "body": {"messages": [], "n": 2}}', "it asks for more than one answer (n)"),
        (
            b'{"custom_id": "a", "url": "/v1/embeddings", "body": {"input": [[1]]}}',
            "its input must be a text or",
        ),
        (b'{"prompt": "caf\xe9"}', "it is not UTF-8 (byte 16 is 0xe9)."),
        (b'{"prompt": "\\ud800"}', "it is not JSON"),
        (b'{"prompt": "a", "model": "nobody/x"}', "no provider is called 'nobody' (model 'nobody/x')"),
        (b'{"prompt": "' + b"x" * 10_000_000 + b'"}', "it has 9.5 MB, and at most 8 MB can be sent."),
        (b"[" * 10_000, "it is not JSON: recursion limit"),
    ],
)
def test_a_bad_line_is_reported_with_its_number_and_reason(tmp_path: Path, line: bytes, reason: str) -> None:
    (tmp_path / "in.jsonl").write_bytes(b'{"prompt": "good"}\n\n' + line + b'\n{"prompt": "good"}\n')
    ((number, told),) = faults_of(options(tmp_path))
    assert number == 3
    assert told.startswith(reason)
    assert told.endswith(".")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl"]  # nothing is left behind


def test_a_line_longer_than_can_be_held_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("source", "formats"):
        monkeypatch.setattr(f"promptmill.cli.run.{module}.MAX_LINE_BYTES", 2**20)
    (tmp_path / "in.jsonl").write_bytes(b'{"prompt": "' + b"x" * 3 * 2**20 + b'"}\n{"prompt": 1}\n')
    assert faults_of(options(tmp_path)) == [
        (1, "it is longer than 1 MB."),
        (2, "its prompt must be a text, not a number."),
    ]


def test_the_same_custom_id_twice_is_a_fault_of_the_second_line(tmp_path: Path) -> None:
    lines = [{"custom_id": "a", "prompt": prompt} for prompt in ("x", "y")]
    (tmp_path / "in.jsonl").write_text("\n\n".join(map(json.dumps, lines)))
    assert faults_of(options(tmp_path)) == [(3, "its custom_id 'a' is that of line 1.")]


async def test_bad_lines_can_be_left_out(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"prompt": "a"}\n{oops\n{"prompt": "b", "model": "nobody/x"}\n')
    summary = await complete(options(tmp_path, skip_invalid=True), Server())
    assert (summary.done, summary.invalid, summary.exit_code) == (1, 2, 1)
    assert texts(tmp_path) == ["a"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"output": "in.jsonl"}, "The input and the output are the same file"),
        ({"errors": "in.jsonl"}, "The input and the error file are the same file"),
        ({"output": "x", "errors": "x"}, "The output and the error file are the same file"),
        ({"output": "folder"}, "is a folder: name a file"),
        ({"output": "nowhere/out.jsonl"}, "there is no folder"),
        ({"output": "device"}, "is not a regular file"),
        ({"input": "absent.jsonl"}, "cannot be read: No such file or directory"),
        ({"input": "folder"}, "cannot be read: Is a directory"),
    ],
)
def test_files_that_cannot_be_used_are_refused(tmp_path: Path, change: dict[str, str], reason: str) -> None:
    write_prompts(tmp_path, "a")
    (tmp_path / "folder").mkdir()
    (tmp_path / "device").symlink_to("/dev/null")
    paths: dict[str, Any] = {name: tmp_path / path for name, path in change.items()}
    chosen = {"input": tmp_path / "in.jsonl", "output": tmp_path / "out.jsonl"} | paths
    with pytest.raises(InputError, match=reason):
        check(RunOptions(str(chosen.pop("input")), **chosen), SETTINGS)
    assert read_lines(tmp_path / "in.jsonl") == [{"prompt": "a"}]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everything")
def test_an_output_that_may_not_be_written_is_refused(tmp_path: Path) -> None:
    write_prompts(tmp_path, "a")
    (tmp_path / "out.jsonl").touch(mode=0o400)
    with pytest.raises(InputError, match="permission denied"):
        check(options(tmp_path), SETTINGS)


def test_a_hard_link_to_the_input_is_the_same_file(tmp_path: Path) -> None:
    write_prompts(tmp_path, "a")
    (tmp_path / "out.jsonl").hardlink_to(tmp_path / "in.jsonl")
    with pytest.raises(InputError, match="are the same file"):
        check(options(tmp_path), SETTINGS)


def test_a_missing_key_is_named_once_before_anything_is_sent(tmp_path: Path) -> None:
    write_prompts(tmp_path, "a", "b")
    bare = Settings(_env_file=None, openai_api_key=None, providers={})
    with pytest.raises(InputError, match="openai/gpt-4o-mini needs a key: set OPENAI_API_KEY"):
        check(options(tmp_path), bare)
    assert check(options(tmp_path, keys_needed=False), bare).pending == 2
    with pytest.raises(InputError, match="set ANTHROPIC_API_KEY"):
        check(options(tmp_path, defaults=Defaults(model="anthropic/claude")), bare)
    assert check(options(tmp_path, check_providers=False), bare).pending == 2


@pytest.mark.parametrize("defaults", [Defaults(temperature=9), Defaults(model="two words")])
def test_options_that_no_request_can_have_are_refused_once(tmp_path: Path, defaults: Defaults) -> None:
    write_prompts(tmp_path, "a")
    with pytest.raises(InputError, match=r"The options cannot be used: (temperature|model): "):
        check(options(tmp_path, defaults=defaults), SETTINGS)


def test_text_is_a_prompt_a_line(tmp_path: Path) -> None:
    path = tmp_path / "in.txt"
    path.write_text("first prompt\n\n{curly} prompt \n", newline="\r\n")
    opts = RunOptions(str(path), tmp_path / "out.jsonl")
    assert prompts_of(opts) == ["first prompt", "{curly} prompt "]
    assert (
        prompts_of(RunOptions(str(path), tmp_path / "o", template="Say: {prompt}"))[0] == "Say: first prompt"
    )


def test_csv_with_a_template_makes_a_prompt_a_row(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_text('\ufeffcustom_id,text,tone\nr1,"two\nlines, quoted",dry\n\nr2,"say ""hi""",\n')
    opts = RunOptions(str(path), tmp_path / "o", template="{{{tone}}} {text}")
    assert prompts_of(opts) == ["{dry} two\nlines, quoted", '{} say "hi"']
    assert [(item.line, item.custom_id) for item in items_of(opts)] == [(2, "r1"), (5, "r2")]


def test_bad_rows_of_a_csv_are_reported(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_bytes(b'prompt,x\na,1,2\ncaf\xe9,1\n"b"c,1\ngood,1\n"never closed,1\n')
    assert faults_of(RunOptions(str(path), tmp_path / "o")) == [
        (2, "it has 3 fields where the header has 2."),
        (3, "it is not UTF-8."),
        (4, "it is not CSV: ',' expected after '\"'."),
        (6, "it is not CSV: unexpected end of data."),
    ]


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("Say {absent}", "has no column 'absent', which the template names; it has text, n"),
        ("Say it", "names no column"),
        ("Say {", "cannot be read"),
        ("Say {}", "empty braces"),
        ("Say {text!r}", "only names in braces"),
        ("Say {text:>9}", "only names in braces"),
        ("Say {text.__class__}", "has no column 'text.__class__'"),
    ],
)
def test_a_template_that_does_not_fit_is_refused(tmp_path: Path, template: str, reason: str) -> None:
    path = tmp_path / "in.csv"
    path.write_text("text,n\na,1\n")
    with pytest.raises(InputError, match=reason):
        check(RunOptions(str(path), tmp_path / "o", template=template), SETTINGS)


def test_a_template_takes_the_fields_of_jsonl(tmp_path: Path) -> None:
    lines = [{"n": 1, "tags": ["a", "b"], "custom_id": "r"}, {"n": None, "tags": []}, {"tags": []}]
    (tmp_path / "in.jsonl").write_text("\n".join(map(json.dumps, lines)))
    opts = options(tmp_path, template="{n}: {tags}", skip_invalid=True)
    assert prompts_of(opts) == ['1: ["a","b"]']
    reason = "it has no value for {n}, which the template names."
    assert faults_of(options(tmp_path, template="{n}: {tags}")) == [(2, reason), (3, reason)]


@pytest.mark.parametrize("kind", ["stdin", "fifo"])
def test_what_cannot_be_read_twice_is_spooled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    data, name = b'{"prompt": "a"}\n{"prompt": "b"}\n', "-"
    if kind == "stdin":
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    else:
        reading, writing = os.pipe()
        os.write(writing, data)
        os.close(writing)
        name = f"/dev/fd/{reading}"
    assert prompts_of(RunOptions(name, tmp_path / "o")) == ["a", "b"]


def test_a_prompt_and_its_messages_are_one_body(tmp_path: Path) -> None:
    lines = [
        {"prompt": 'quote " back \\ ünï \u2028 \x01'},
        {"messages": [{"role": "user", "content": 'quote " back \\ ünï \u2028 \x01'}]},
        {"prompt": 'quote " back \\ ünï \u2028 \x01', "model": "openai/gpt-4o-mini", "timeout_s": None},
    ]
    (tmp_path / "in.jsonl").write_text("\n".join(map(json.dumps, lines)))
    for defaults in (Defaults("openai/gpt-4o-mini"), Defaults("openai/gpt-4o-mini", system="Be brief.")):
        items = items_of(options(tmp_path, defaults=defaults))
        assert len({item.hash for item in items[:2]}) == 1
        assert items[0].request() == items[1].request()


def test_defaults_fill_what_a_line_does_not_say(tmp_path: Path) -> None:
    lines: list[dict[str, Any]] = [
        {"prompt": "a"},
        {"prompt": "a", "model": "openai/own", "max_tokens": 5, "system": "Own."},
        {"messages": [{"role": "system", "content": "Own."}, {"role": "user", "content": "a"}]},
        {"texts": ["a", "b"]},
    ]
    (tmp_path / "in.jsonl").write_text("\n".join(map(json.dumps, lines)))
    defaults = Defaults("openai/m", "openai/e", "Be brief.", max_tokens=9, temperature=0.5)
    first, second, third, fourth = (i.request() for i in items_of(options(tmp_path, defaults=defaults)))
    assert isinstance(first, ChatRequest)
    assert isinstance(second, ChatRequest)
    assert isinstance(third, ChatRequest)
    assert (first.model, first.max_tokens, first.temperature) == ("openai/m", 9, 0.5)
    assert [m.content for m in first.messages] == ["Be brief.", "a"]
    assert (second.model, second.max_tokens, second.messages[0].content) == ("openai/own", 5, "Own.")
    assert [m.content for m in third.messages] == ["Own.", "a"]
    assert isinstance(fourth, EmbedRequest)
    assert fourth.model == "openai/e"


def test_the_largest_prompt_that_fits_is_taken(tmp_path: Path) -> None:
    write_prompts(tmp_path, "x" * (MAX_PROMPT_BYTES - 200))
    assert check(options(tmp_path), SETTINGS).pending == 1
