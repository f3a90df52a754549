"""Another project's `settings`, `client` or `worker` where ours should be, and ours where its own should be."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from promptmill.names import refuse_hidden, refuse_others

ROOT = Path(__file__).parents[2]
NOBODY = "redis://127.0.0.1:1"  # where a worker that was not refused ends: "cannot be reached"
WORKER = ("arq", "worker.WorkerSettings")


def start(folder: Path, *command: str, **variables: str) -> tuple[int, str]:
    """Exit status and last line of a module that is run in `folder`: with -P, ours come first on the path, as those
    of an installed package do; without, the folder does."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "REDIS_URL": NOBODY, **variables}
    done = subprocess.run(
        [sys.executable, *command], cwd=folder, env=env, capture_output=True, text=True, timeout=30
    )
    lines = (done.stderr or done.stdout).strip().splitlines()
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, lines[-1]


@pytest.mark.parametrize("name", ["settings.py", "client.py", "client/__init__.py"])
def test_a_worker_that_finds_another_module_of_our_name_refuses(tmp_path: Path, name: str) -> None:
    other = tmp_path / name
    other.parent.mkdir(exist_ok=True)
    other.write_text("DEBUG = True\n")
    code, said = start(tmp_path, "-m", *WORKER)
    assert code == 1
    assert said.startswith(f"Error: Python finds {other} where promptmill's module")
    assert "rename that one" in said


@pytest.mark.parametrize("name", ["settings", "client", "worker"])
def test_a_command_that_finds_another_module_of_our_name_refuses(tmp_path: Path, name: str) -> None:
    (tmp_path / f"{name}.py").write_text("DEBUG = True\n")
    code, said = start(tmp_path, "-m", "promptmill", "limits", "list")
    assert code == 2
    assert said.startswith(
        f"promptmill: Python finds {tmp_path / name}.py where promptmill's module {name!r}"
    )


@pytest.mark.parametrize("name", ["settings", "client", "worker"])
def test_jobs_never_get_our_module_in_place_of_their_own(tmp_path: Path, name: str) -> None:
    (tmp_path / f"{name}.py").write_text("DEBUG = True\n")
    (tmp_path / "my_jobs.py").write_text(f"from {name} import DEBUG\n")
    code, said = start(tmp_path, "-P", "-m", *WORKER, JOB_MODULES="my_jobs")
    assert code == 1
    assert f"would import promptmill's {name!r} instead of {tmp_path / name}.py: rename that one" in said


def test_a_worker_that_imports_nothing_of_the_project_starts(tmp_path: Path) -> None:
    (tmp_path / "settings.py").write_text("DEBUG = True\n")
    code, said = start(tmp_path, "-P", "-m", *WORKER)
    assert code == 1
    assert said.startswith("Error: REDIS_URL: ")


def test_modules_in_packages_and_folders_without_code_are_not_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "mysite").mkdir()
    (tmp_path / "mysite" / "settings.py").write_text("DEBUG = True\n")
    (tmp_path / "mysite" / "jobs.py").write_text("from mysite.settings import DEBUG\n")
    (tmp_path / "client").mkdir()  # of a web page
    (tmp_path / "client" / "index.js").write_text("")
    assert start(tmp_path, "-P", "-m", *WORKER, JOB_MODULES="mysite.jobs")[1].startswith("Error: REDIS_URL: ")


def test_a_copy_of_ours_is_ours(tmp_path: Path) -> None:
    shutil.copy(ROOT / "settings.py", tmp_path)
    (tmp_path / "my_jobs.py").write_text("import settings\n")
    assert start(tmp_path, "-m", *WORKER, JOB_MODULES="my_jobs")[1].startswith("Error: REDIS_URL: ")


def test_the_project_itself_is_not_refused() -> None:
    refuse_others()
    refuse_hidden()
