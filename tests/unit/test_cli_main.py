"""The group of commands: help, failures, exit codes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import click
import pytest
from click.testing import CliRunner

from client import InvalidRedisURL, QueueUnavailable
from promptmill.cli.main import COMMANDS, promptmill
from promptmill.cli.stack import StackError
from settings import SettingsError

TYPED = "caf\udce9"  # a byte of Latin-1, as Python gives it where the terminal should be UTF-8
OURS = [name for name in COMMANDS if name != "run"]  # `run` has tests of its own


def invoke(*args: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(promptmill, args)
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], None]:
    def install(error: BaseException) -> None:
        @click.command()
        def broken() -> None:
            raise error

        monkeypatch.setattr("promptmill.cli.jobs.status", broken)

    return install


def test_the_help_of_the_group_lists_every_command() -> None:
    code, out, _ = invoke("--help")
    assert code == 0
    assert all(f"  {name} " in out for name in COMMANDS)


@pytest.mark.parametrize("name", OURS)
def test_every_command_has_help_that_starts_as_the_group_says(name: str) -> None:
    code, out, _ = invoke(name, "--help")
    assert code == 0
    assert COMMANDS[name][1] in " ".join(out.split())


def test_help_does_not_import_what_only_the_commands_need() -> None:
    script = (
        "import sys, promptmill.cli; print(sorted({'redis', 'arq', 'pydantic', 'httpx'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_version_is_printed() -> None:
    code, out, _ = invoke("--version")
    assert (code, out.split()[0]) == (0, "promptmill")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SettingsError("MAX_JOBS cannot be used."), 2),
        (InvalidRedisURL("The Redis URL cannot be used."), 2),
        (QueueUnavailable("Redis cannot be reached."), 1),
        (StackError("There is no Redis to use."), 1),
    ],
)
def test_a_failure_is_one_sentence_and_its_exit_code(
    failing: Callable[[BaseException], None], error: Exception, code: int
) -> None:
    failing(error)
    assert invoke("status") == (code, "", f"promptmill: {error}\n")


def test_an_interrupt_is_exit_code_130(failing: Callable[[BaseException], None]) -> None:
    failing(KeyboardInterrupt())
    assert invoke("status")[0] == 130


def test_a_fault_of_our_own_keeps_its_trace(failing: Callable[[BaseException], None]) -> None:
    failing(ZeroDivisionError("ours"))
    result = CliRunner().invoke(promptmill, ["status"])
    assert isinstance(result.exception, ZeroDivisionError)


@pytest.mark.parametrize(
    "args",
    [
        ("enqueue", "chat", TYPED),
        ("enqueue", "nap", "--kwarg", f"x={TYPED}"),
        ("ask", TYPED),
        *(("ask", "x", option, TYPED) for option in ("--system", "--model")),
        *((verb, TYPED) for verb in ("status", "result", "abort")),
        *(("dead", verb, TYPED) for verb in ("show", "retry", "delete")),
        ("limits", "pause", TYPED),
        ("run", "-", "--template", TYPED + " {prompt}"),
    ],
    ids=lambda args: " ".join(args).replace(TYPED, "…"),
)
def test_what_is_typed_in_another_coding_is_one_sentence(
    args: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1")
    code, out, err = invoke(*args)
    assert code in (1, 2), out
    assert out == ""
    assert err.startswith("promptmill: ")


@pytest.mark.parametrize("args", [("no-such-command",), ("ask",), ("ask", "hello", "--timeout", "0")])
def test_wrong_usage_is_exit_code_2(args: tuple[str, ...]) -> None:
    code, out, err = invoke(*args)
    assert (code, out) == (2, "")
    assert "Traceback" not in err


def test_a_closed_pipe_is_no_trace() -> None:
    script = (
        "import sys; from promptmill import cli; sys.argv = ['promptmill', 'completion', 'bash']; cli.main()"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.close()
    process.stdout = None
    assert process.communicate(timeout=20)[1] == b""


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completion_of_each_shell_is_printed(shell: str) -> None:
    code, out, _ = invoke("completion", shell)
    assert code == 0
    assert "_PROMPTMILL_COMPLETE" in out
