"""The benchmarks' machinery: arguments, shapes and arithmetic. Nothing here is timed."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from benchmarks import __main__ as command
from benchmarks import flow, llm, throughput
from benchmarks.fleet import in_flight, mean_in_flight
from benchmarks.flow.curve import reached, settled
from benchmarks.flow.provider import Counts
from benchmarks.llm.bare import has
from benchmarks.llm.following import delays_ms
from benchmarks.llm.ratio import ratio
from benchmarks.llm.script import Bucket
from benchmarks.options import Options, absent, measured
from benchmarks.peers import find
from benchmarks.percentiles import percentile
from benchmarks.proc import cpu_s, family, rss_bytes
from benchmarks.report import Case, Figures, as_table
from benchmarks.tally import Tally

FAKE = [
    Case("promptmill", {"jobs_per_s": 15_000.0, "worker_cpu_ms_per_job": 0.05}, "5 times", True),
    Case("arq", {"jobs_per_s": 1_425.0, "worker_cpu_ms_per_job": 0.69}),
    absent("saq", "ModuleNotFoundError: no module named saq"),
]


@pytest.fixture
def no_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """No benchmark runs: each finds FAKE."""
    monkeypatch.setattr(command, "_run", lambda _name, _options: FAKE)
    monkeypatch.setattr(command, "describe", lambda packages: {"cores": 2, "packages": list(packages)})


def test_help_names_every_benchmark() -> None:
    said = CliRunner().invoke(command.main, ["--help"])

    assert said.exit_code == 0
    assert all(name in said.output for name in command.NAMES)


@pytest.mark.usefixtures("no_machine")
def test_json_is_one_object_a_benchmark_whether_or_not_goals_are_met(tmp_path: Path) -> None:
    arguments = ["throughput", "memory", "--json", "--peers", "none", "--save", str(tmp_path)]
    said = CliRunner().invoke(command.main, arguments)

    assert said.exit_code == 0
    documents = [json.loads(line) for line in said.stdout.splitlines()]
    assert [document["benchmark"] for document in documents] == ["throughput", "memory"]
    for document in documents:
        assert set(document) == {"benchmark", "machine", "cases"}
        assert all(set(case) == {"case", "figures", "goal", "met"} for case in document["cases"])
    assert json.loads((tmp_path / "memory.json").read_text()) == documents[1]


@pytest.mark.usefixtures("no_machine")
def test_an_unknown_peer_is_refused() -> None:
    assert CliRunner().invoke(command.main, ["throughput", "--peers", "arq,nobody"]).exit_code == 2


def test_the_table_has_every_figure_the_goals_and_the_reasons_for_absence() -> None:
    table = as_table("throughput", FAKE)

    assert "| case       | jobs_per_s | worker_cpu_ms_per_job |" in table
    assert "15,000" in table
    assert "- promptmill: 5 times: met" in table
    assert "- saq: absent: ModuleNotFoundError" in table


def test_cases_of_other_figures_have_a_table_of_their_own() -> None:
    cases = [Case("a", {"wall_s": 1.0}), Case("b", {"wall_s": 2.0, "lost": 0}), Case("c", {"peak": 50})]

    table = as_table("flow", cases)

    assert "| case | wall_s | lost |" in table
    assert "| case | peak |" in table


def test_the_throughput_goal_compares_with_the_fastest_peer() -> None:
    ours, slow = FAKE[0].figures, FAKE[1].figures
    fast: Figures = {"jobs_per_s": 4_000.0, "worker_cpu_ms_per_job": 0.3}

    assert throughput._met(ours, [slow, FAKE[2].figures]) is True
    assert throughput._met(ours, [slow, fast]) is False
    assert throughput._met(ours, [FAKE[2].figures]) is None
    assert throughput._met(FAKE[2].figures, [slow]) is None


async def test_a_system_that_fails_is_absent_with_the_reason() -> None:
    async def broken() -> dict[str, float | int | str | None]:
        raise OSError("no port is free")

    assert await measured("broken", broken) == {"absent": "OSError: no port is free"}


def test_a_peer_that_cannot_be_imported_is_named_with_the_reason() -> None:
    found, absences = find(["arq", "nowhere"])

    assert [system.name for system in found] == ["arq"]
    assert "nowhere" in absences["nowhere"]


@pytest.mark.parametrize(
    ("percent", "expected"), [(0, 1), (50, 50), (99, 99), (99.5, 100), (100, 100)], ids=str
)
def test_percentile_is_the_nearest_rank(percent: float, expected: float) -> None:
    assert percentile(list(range(100, 0, -1)), percent) == expected


def test_percentile_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no samples"):
        percentile([], 50)


def test_the_tally_is_shared_and_counts_what_ran_twice(tmp_path: Path) -> None:
    ours = Tally.create(tmp_path / "tally", jobs=3)
    theirs = Tally(tmp_path / "tally")

    started_ns = theirs.begin(1)
    theirs.begin(1)
    theirs.end(1)

    assert (ours.jobs, ours.started(), ours.ended()) == (3, 1, 1)
    assert ours.starts.tolist() == [0, 2, 0]
    assert started_ns <= ours.first_start_ns() <= ours.last_end_ns()


def test_the_curve_of_jobs_in_flight_and_its_mean() -> None:
    curve = in_flight([10, 10, 30], [20, 40, 0])

    assert curve == [(10, 1), (10, 2), (20, 1), (30, 2), (40, 1)]
    assert mean_in_flight(curve, 10, 30) == 1.5
    assert mean_in_flight(curve, 30, 30) == 0


def _counts(at_s: float, completed: int, refused: int = 0) -> Counts:
    return Counts(at_s, completed + refused, completed, refused, 0, 0, 0, 0.0, 0.0)


def test_it_has_settled_from_when_every_window_has_the_rate_and_few_refusals() -> None:
    refusing = [_counts(0, 0), _counts(1, 80, 40), _counts(2, 160, 60)]  # the rate, but half are refused
    steady = [_counts(3 + second, 240 + 80 * second, 60) for second in range(4)]
    terms = {"least_per_s": 68, "most_refused_percent": 3, "length_s": 2}

    assert settled(refusing + steady, **terms) == refusing[-1]
    assert settled([*refusing, *steady, _counts(8, 500, 60)], **terms) is None
    assert settled(refusing, **terms) is None


def test_a_rate_is_reached_at_the_end_of_the_first_window_that_has_it() -> None:
    seen = [_counts(0, 0), _counts(0.5, 0), _counts(1, 20), _counts(1.5, 70), _counts(2, 120)]

    assert reached(seen, least_per_s=90, length_s=1) == seen[-1]
    assert reached(seen[:-1], least_per_s=90, length_s=1) is None


async def test_a_case_of_flow_that_there_is_not_is_refused() -> None:
    with pytest.raises(click.UsageError, match="no case nothing: it has crowd"):
        await flow.run(Options(only=["nothing"]))


async def test_a_case_of_llm_that_there_is_not_is_refused() -> None:
    with pytest.raises(click.UsageError, match="no case nothing: it has plain"):
        await llm.run(Options(only=["nothing"]))


def test_a_delta_is_as_late_as_its_stamp_is_old_even_where_the_stamp_has_begun_anew() -> None:
    assert delays_ms("99900005", 1_700_000_000_010) == [20, 5]
    assert delays_ms("", 1.0) == []


def test_a_ratio_needs_both_figures() -> None:
    assert ratio({"cpu": 3.0}, {"cpu": 2}, "cpu") == 1.5
    assert ratio({"cpu": 3.0}, {"absent": "no"}, "cpu") is None
    assert ratio({"cpu": None}, {"cpu": 2}, "cpu") is None


def test_the_scripts_bucket_holds_a_minute_and_fills_evenly() -> None:
    bucket = Bucket(60, now_s=10)
    bucket.left -= 30

    bucket.fill(now_s=20)
    assert bucket.left == 40
    bucket.fill(now_s=99)
    assert bucket.left == 60


def test_a_client_that_is_always_here_is_measured() -> None:
    assert has("httpx-aiohttp")


def test_proc_knows_this_process() -> None:
    assert os.getpid() in family(os.getpid())
    assert cpu_s(os.getpid()) > 0
    assert rss_bytes(os.getpid()) > 1_000_000
