"""One way to print, one way to log, one coding of files: what is wrong there is wrong in one place."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tests.unit.architecture.product import MODULES, tree

PRINTS = {"promptmill.cli.terminal", "promptmill.simulator.command"}  # the latter: its own address
LOGS = {"client.words", "worker.calls.transport"}  # the latter: the level of somebody else's


def calls(module: str) -> Iterator[tuple[ast.Call, str]]:
    """Each call, and what is called, as it is written."""
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Call):
            yield node, ast.unparse(node.func)


def test_what_is_printed_goes_through_one_function() -> None:
    """It shows what a terminal would obey."""
    own_ways = {"print", "click.echo", "click.secho", "sys.stdout.write", "sys.stderr.write"}
    assert {module for module in MODULES for _, name in calls(module) if name in own_ways} <= PRINTS


def test_every_logger_shows_what_a_terminal_would_obey() -> None:
    assert {module for module in MODULES for _, name in calls(module) if name == "logging.getLogger"} <= LOGS


def test_no_file_is_read_or_written_in_the_coding_of_the_locale() -> None:
    bare = {
        (module, call.lineno)
        for module in MODULES
        for call, name in calls(module)
        if is_of_text(call, name) and not any(word.arg == "encoding" for word in call.keywords)
    }
    assert bare == set()


def is_of_text(call: ast.Call, name: str) -> bool:
    if name.endswith((".read_text", ".write_text")):
        return True
    is_method = name.endswith(("path.open", "log.open", "new.open", "output.open"))  # Path's
    if name not in ("open", "os.fdopen") and not is_method:
        return False
    mode = next((word.value for word in call.keywords if word.arg == "mode"), None)
    mode = mode or (*call.args, None, None)[0 if is_method else 1]
    return not (isinstance(mode, ast.Constant) and "b" in str(mode.value))
