"""One minute of `make soak`. What a busy machine can miss by itself is told here, and fails `make soak` alone."""

from __future__ import annotations

import pytest

from tests.conftest import _binary
from tests.soak.checks import check_all
from tests.soak.driver import soak
from tests.soak.plan import Options

MINUTES, SEED = 1, 12
OF_PACE = {"recovery"}  # seconds: 7.6 instead of 7 were seen beside another run of tests


@pytest.mark.timeout(400)  # the minute, and what is bounded around it
async def test_a_minute_of_faults_breaks_no_promise(capsys: pytest.CaptureFixture[str]) -> None:
    _binary()
    with capsys.disabled():
        print(f"\nsoak of a minute, seed {SEED}")
    broken = [
        finding for finding in check_all(await soak(Options(MINUTES, SEED), print)) if not finding.holds
    ]
    with capsys.disabled():
        print(*broken, sep="\n")
    assert [str(finding) for finding in broken if finding.name not in OF_PACE] == []
