"""Every key is built in one file: arq's names, the table at its top, a prefix."""

from __future__ import annotations

import re

import pytest
from arq import constants

from client.wire import keys as module
from client.wire.keys import KEYS, Keys

NAMES = [*KEYS.names(), "flow_or_slots"]


def built(keys: Keys, name: str) -> str:
    made = getattr(keys, name)
    return made if isinstance(made, str) else str(made("x"))


def test_the_names_of_arqs_keys_are_arqs_own() -> None:
    assert KEYS.queue == constants.default_queue_name
    assert KEYS.aborts == constants.abort_jobs_ss
    assert KEYS.job("a") == constants.job_key_prefix + "a"
    assert KEYS.in_progress("a") == constants.in_progress_key_prefix + "a"
    assert KEYS.retry("a") == constants.retry_key_prefix + "a"
    assert KEYS.result("a") == constants.result_key_prefix + "a"
    assert KEYS.health(KEYS.queue) == KEYS.queue + constants.health_check_key_suffix


@pytest.mark.parametrize("name", NAMES)
def test_every_key_is_in_the_table_and_takes_the_prefix(name: str) -> None:
    plain = built(KEYS, name)
    assert built(Keys("{llm}:"), name) == "{llm}:" + plain
    rows = re.findall(r"^    ((?:arq|mill):\S+)", module.__doc__ or "", re.MULTILINE)
    assert name == "flow_or_slots" or re.sub(r"\{\w+\}", "x", "\n".join(rows)).split("\n").count(plain) == 1


def test_channels_and_nothing_else_carry_the_number_of_the_database() -> None:
    plain, one = Keys().names(), Keys(database=1).names()
    assert {name for name in plain if plain[name] != one[name]} == {
        name for name in plain if name.endswith("_channel")
    }
    assert (one["wake_channel"], Keys("{llm}:", 15).done_channel("a")) == (
        "mill:db1:wake",
        "{llm}:mill:db15:done:a",
    )
    keys = Keys(database=2)
    assert keys.job_id_of_events(keys.events_channel("a").encode()) == "a"
    assert keys.job_id_of(keys.done_channel("a").encode()) == "a"
    assert not keys.is_events(KEYS.events_channel("a").encode())
    assert not KEYS.is_events(keys.events_channel("a").encode())


def test_lanes_and_channels_are_read_under_a_prefix() -> None:
    keys = Keys("{llm}:")
    assert keys.lane_name(keys.lane("openai/m|tenant:a")) == "openai/m|tenant:a"
    assert (keys.lane_name(keys.queue), keys.lane_name(KEYS.lane("m"))) == ("", "")
    assert [keys.lanes_of(keys.lane(name)) for name in ("cpu", "cpu|tenant:a", "cpus")] == [
        keys.cpu_lanes,
        keys.cpu_lanes,
        keys.lanes,
    ]
    assert keys.job_id_of(keys.done_channel("a").encode()) == "a"
    assert keys.job_id_of_events(keys.events_channel("a").encode()) == "a"
    assert (keys.is_events(b"{llm}:mill:events:a"), keys.is_events(b"mill:events:a")) == (True, False)
    assert keys.health(keys.queue) == "{llm}:arq:queue:health-check"
