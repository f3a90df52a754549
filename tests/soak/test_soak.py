"""One minute of `make soak`. What is known to be broken is told, and fails nothing yet."""

from __future__ import annotations

import pytest

from tests.conftest import _binary
from tests.soak.checks import CHECKS, check_all
from tests.soak.driver import soak
from tests.soak.plan import Options

MINUTES, SEED = 1, 12

# Check → what is to be mended before it can hold on any machine, at any pace. A line that is not needed any more is
# taken out. What is not here must hold always: nothing lost or wrong, limits, slots, streams, keys.
NOT_YET = {
    "parts": "A7: a part was paid again in two of six minutes; answers that come as the drain ends are left out since",
    "cost": "A6: in one of six minutes a call more was told than seen; sockets that were closed are allowed for since",
    "calm": "A4: 77 % in one of six minutes; what was found in an overload just before may hold for half a minute",
}


@pytest.mark.timeout(400)  # the minute, and what is bounded around it
async def test_a_minute_of_faults_breaks_no_promise_that_is_kept_so_far(
    capsys: pytest.CaptureFixture[str],
) -> None:
    _binary()
    findings = check_all(await soak(Options(MINUTES, SEED), print))
    with capsys.disabled():
        print(f"\nsoak of a minute, seed {SEED}")
        for finding in findings:
            if not finding.holds:
                print(f"{finding} [{NOT_YET.get(finding.name, 'issue unknown')}]")
    assert [str(f) for f in findings if not f.holds and f.name not in NOT_YET] == []


def test_what_is_not_kept_yet_are_checks_that_there_are() -> None:
    assert NOT_YET.keys() <= {check.__name__.replace("_", " ") for check in CHECKS}
