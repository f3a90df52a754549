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
    "attempts": "A5: a refused part of an embedding that runs again in the same moment may go untold",
    "parts": "A7: the same part is paid again",
    "paid twice": "A3: an answer that comes as its run is stopped",
    "cost": "A6: what a killed worker had not written, a tenth of a second of calls",
    "tries": "A5 and A9: tries that are counted twice, and a provider that is down for seconds",
    "calm": "A4: on a machine that is busy the workers themselves are not back at full pace in the calm",
    "recovery": "A1: on a machine that is busy the next call comes late",
    "places": "A1: on a machine that is busy the next call comes late",
    "conversations": "A2: orders of start as the provider sees them, over connections of several workers",
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
