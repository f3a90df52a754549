"""What README.md and docs/ say is what the code has: settings, commands, flags, errors, links."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from arq.cli import cli as arq_command

from client import errors
from promptmill.cli.main import COMMANDS, promptmill
from settings import Settings
from tests.unit.architecture.test_imports import ROWS
from worker.calls.resolve import resolve

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
DOCS = sorted(ROOT.glob("docs/**/*.md"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *DOCS]
ARCHITECTURE = (ROOT / "docs/architecture.md").read_text()
ROOMS = "client|worker|promptmill|tests|benchmarks|examples|docs"
README_LINES = 450  # at most
MOST_CHARS = 120  # in a line, tables aside
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def blocks(language: str, *pages: Path) -> list[str]:
    """The code of README.md, then of these pages."""
    texts = [README, *(page.read_text() for page in pages)]
    return [block for text in texts for block in re.findall(rf"^```{language}\n(.*?)^```", text, re.S | re.M)]


def variable_of(field: str) -> str:
    return "PROMPTMILL_DATA_DIR" if field == "data_dir" else field.upper()


def settings_table() -> dict[str, str]:
    rows = re.findall(r"^\| `([A-Z_]+)` \| (.+?) \| .+ \|$", README, re.M)
    return {variable: default.strip("`") for variable, default in rows}


def written(default: Any) -> str:
    if default is None:
        return "unset"
    if default in ((), {}):
        return "none"
    return default if isinstance(default, str) else str(default)


def command_lines(*pages: Path) -> Iterator[list[str]]:
    for block in blocks("sh", *pages):
        for line in block.splitlines():
            words = shlex.split(line, comments=True)
            if words:
                yield words[words.index("|") + 1 :] if "|" in words else words


def flags_of(command: click.Command) -> set[str]:
    options = (p for p in command.params if isinstance(p, click.Option))
    return {flag for option in options for flag in (*option.opts, *option.secondary_opts)}


def subcommand(name: str) -> click.Command:
    command = promptmill.get_command(click.Context(promptmill), name)
    assert command is not None, f"there is no command {name}"
    return command


def headings(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    found = re.findall(r"^#+ (.+)$", page.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


def error_classes(root: type) -> Iterator[type]:
    yield root
    children: list[type] = root.__subclasses__()
    for child in children:
        if child.__module__ == errors.__name__:
            yield from error_classes(child)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_in_the_readme_or_the_docs_as_it_is(path: Path) -> None:
    assert path.read_text() in blocks("python", *DOCS)


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= README_LINES


def test_the_table_of_settings_is_the_class() -> None:
    fields = Settings.model_fields
    expected = {variable_of(name): written(field.default) for name, field in fields.items()}

    assert settings_table() == expected


def test_the_example_environment_names_every_setting_and_no_other() -> None:
    found = re.findall(r"^# ([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.M)

    assert {name.split("__")[0] for name in found} == {variable_of(name) for name in Settings.model_fields}


def test_the_example_environment_holds_the_defaults(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / ".env"
    lines = (ROOT / ".env.example").read_text().splitlines()
    file.write_text("\n".join(line[2:] for line in lines if re.match(r"# [A-Z_]+=", line)))
    _clear_environment(monkeypatch)
    examples = {"redis_url", "redis_ssl_cert_reqs", "providers", "job_modules"}  # not their defaults

    found, defaults = Settings(_env_file=file), Settings(_env_file=None)

    assert found.model_dump(exclude=examples) == defaults.model_dump(exclude=examples)
    assert found.all_providers()["ollama"].kind == "openai"
    assert found.job_modules == ("examples.my_jobs",)


def test_the_providers_of_the_readme_resolve(monkeypatch: pytest.MonkeyPatch) -> None:
    (block,) = [block for block in blocks("sh") if "PROVIDERS__" in block]
    _clear_environment(monkeypatch)
    for name, value in re.findall(r"^([A-Z_]+)=(\S+)", block, re.M):
        monkeypatch.setenv(name, value.replace("…", "key"))
    models = re.findall(r'model="(.+?)"', block)

    routes = [str(resolve(Settings(_env_file=None), model)) for model in models]

    assert models
    assert routes == models
    assert Settings(_env_file=None).all_providers()["proxy"].kind == "anthropic"


def test_every_command_is_in_the_readme() -> None:
    assert {words[1] for words in command_lines() if words[0] == "promptmill"} >= COMMANDS.keys() - {
        "completion"
    }
    assert "promptmill completion bash" in README


@pytest.mark.parametrize("words", list(command_lines(*DOCS)), ids=" ".join)
def test_a_command_line_can_be_typed(words: list[str]) -> None:
    """The flags exist. `promptmill` lines are parsed to the end."""
    if words[0] == "promptmill":
        command, rest = subcommand(words[1]), words[2:]
        name: str | None = words[1]
        if isinstance(command, click.Group):
            name, within, rest = command.resolve_command(click.Context(command), rest)
            assert name, f"there is no command {words[2]}"
            assert within
            command = within
        command.make_context(name, rest, resilient_parsing=False)
    elif words[0] == "arq":
        assert {word for word in words if word.startswith("--")} <= flags_of(arq_command)
    elif words[0] == "make":
        assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.M)


def test_the_page_of_run_has_every_option() -> None:
    page = (ROOT / "docs/run.md").read_text()
    documented = set(re.findall(r"`(--?[a-z-]+)`", "\n".join(re.findall(r"^\| (`--?.+?) \|", page, re.M))))

    assert documented == flags_of(subcommand("run"))


def test_the_page_of_errors_is_the_tree() -> None:
    rows = re.findall(r"^\| `(\w+)` \| .+? \| (.*?) \| .*\|$", (ROOT / "docs/errors.md").read_text(), re.M)
    documented = {name: retried.startswith("yes") for name, retried in rows}

    classes = error_classes(errors.MillError)
    assert documented == {cls.__name__: getattr(cls, "retryable", False) for cls in classes}


def test_the_page_of_the_architecture_says_who_imports_whom() -> None:
    section = ARCHITECTURE.partition("## Who imports whom\n")[2].partition("\n## ")[0]
    table = re.sub(r"\n {28,}", " ", section)  # rows that go on in the next line
    rows = dict(re.findall(r"^    (\S+) {2,}(.+)$", table, re.M))

    assert {room: set(may.split(", ")) - {"nothing of ours"} for room, may in rows.items()} == ROWS


@pytest.mark.parametrize("room", ["client", "worker", "promptmill"])
def test_the_page_of_the_architecture_has_the_files_of_a_room(room: str) -> None:
    section = ARCHITECTURE.partition(f"\n    {room}/ ")[2] or ARCHITECTURE.partition(f"\n    {room}/\n")[2]
    tree = re.split(r"\n(?: {4}\w|\n)", section)[0]
    within = {path.name for path in (ROOT / room).iterdir() if path.suffix == ".py" or path.is_dir()}

    assert (
        within - set(re.findall(r"\w+(?:\.py)?", tree)) - {"__init__.py", "__main__.py", "__pycache__"}
        == set()
    )


def test_the_page_of_the_architecture_has_every_file_of_the_engine() -> None:
    section = ARCHITECTURE.partition("## The engine's rooms\n")[2].partition("\n## ")[0]
    documented = set(re.findall(r"^\| `(\w+\.py)`", section, re.M))

    assert documented == {path.name for path in ROOT.glob("worker/engine/*.py")} - {"__init__.py"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_file_that_a_page_names_exists(page: Path) -> None:
    paths = re.findall(rf"`((?:{ROOMS})/[\w/-]+\.(?:py|lua|md|jsonl))`", page.read_text())

    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_the_line_of_the_procfile_is_in_the_readme() -> None:
    assert (ROOT / "Procfile").read_text() in README


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_link_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)", page.read_text())

    assert [link for link in links if "://" not in link and not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_link_to_a_heading_finds_it(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]*)#([^)]+)\)", page.read_text())

    assert [
        (file, to) for file, to in links if to not in headings(page.parent / file if file else page)
    ] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_line_is_short(page: Path) -> None:
    lines = [line for line in page.read_text().splitlines() if not line.startswith("|")]

    assert [line for line in lines if len(line) > MOST_CHARS] == []


def _clear_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(variable_of(name), raising=False)
