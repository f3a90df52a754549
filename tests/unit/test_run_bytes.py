"""The bytes of an input: read in the codings and with the ends of lines that they have, or refused in one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from promptmill.cli.run import source
from tests.unit.test_run_forms import items_of, prompts_of, refusal_of


@pytest.mark.parametrize("name", ["in.jsonl", "in.txt", "in.csv"])
@pytest.mark.parametrize(
    ("data", "seems"),
    [
        (b"\xff\xfe" + "prompt\na\n".encode("utf-16-le")[:-1], "begins as UTF-16, and is none"),
        (b"\xfe\xffp\xdc\x00", "begins as UTF-16, and is none"),
        ("prompt\na\n".encode("utf-32"), "seems to be binary, or UTF-16"),
        ("prompt\na\n".encode("utf-16-le"), "seems to be binary, or UTF-16"),
        (b"PK\3\4\0\0\n\0", "seems to be binary, or UTF-16"),
    ],
)
def test_bytes_that_are_no_lines_of_text_are_refused(
    tmp_path: Path, name: str, data: bytes, seems: str
) -> None:
    (tmp_path / name).write_bytes(data)
    assert seems in refusal_of(tmp_path / name)


FORMS = {
    "in.jsonl": '{"prompt": "ä 😀"}\n\n{"prompt": "b"}\n',
    "in.csv": 'prompt;n\n"ä 😀";1\n\nb;2\n',
    "in.txt": "ä 😀\n\nb\n",
    "in": "ä 😀\n\nb",
}


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("coding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be"])
def test_lines_are_read_in_utf_16_and_where_cr_ends_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, end: str, coding: str
) -> None:
    monkeypatch.setattr(source, "READ_BYTES", 5)  # so that characters and line ends are torn
    mark = "\ufeff" if coding == "utf-16-be" else ""
    (tmp_path / name).write_bytes((mark + FORMS[name].replace("\n", end)).encode(coding))
    assert prompts_of(tmp_path / name) == ["ä 😀", "b"]


def test_a_cr_beside_lf_is_part_of_its_line(tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_bytes(b"10 %\r20 %\nb")
    assert prompts_of(tmp_path / "in.txt") == ["10 %\r20 %", "b"]


@pytest.mark.parametrize("content", [b"", b"\n \r\n\n", b"\xef\xbb\xbf"])
def test_an_empty_input_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "in.jsonl").write_bytes(content)
    assert "is empty: there is nothing to send." in refusal_of(tmp_path / "in.jsonl")


def test_bom_crlf_and_blank_lines_do_not_matter(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_bytes(b'\xef\xbb\xbf{"prompt": "a"}\r\n\r\n  \n{"prompt": "b"}')
    assert [(item.line, item.body["messages"][0]["content"]) for item in items_of(tmp_path / "in.jsonl")] == [
        (1, "a"),
        (4, "b"),
    ]
