"""One minute of `make soak`: no promise is broken."""

from __future__ import annotations

import pytest

from tests.conftest import _binary
from tests.soak.checks import check_all
from tests.soak.driver import soak
from tests.soak.plan import Options

MINUTES, SEED = 1, 12


@pytest.mark.timeout(400)  # the minute, and what is bounded around it
async def test_a_minute_of_faults_breaks_no_promise(capsys: pytest.CaptureFixture[str]) -> None:
    _binary()
    with capsys.disabled():
        print(f"\nsoak of a minute, seed {SEED}")
    findings = check_all(await soak(Options(MINUTES, SEED), print))
    assert [str(finding) for finding in findings if not finding.holds] == []
