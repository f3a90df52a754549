"""python -m tests.soak --minutes 5 --seed 7: exits with 1 where a check fails."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from random import SystemRandom
from time import strftime

from tests.soak.checks import check_all
from tests.soak.driver import soak
from tests.soak.plan import CALM_S, Options
from tests.soak.record import Record


async def _ended_by_signals(options: Options) -> Record:
    """TERM ends it as Ctrl-C does, and with it all that it has started."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await soak(options, lambda words: print(f"{strftime('%H:%M:%S')} {words}", flush=True))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=2)
    parser.add_argument("--seed", type=int, default=None, help="of all that is random but the machine's pace")
    given = parser.parse_args()
    if not CALM_S < given.minutes * 60 < 24 * 3600:
        parser.error(f"--minutes must be more than the calm of {CALM_S:g} s, and at most a day")
    seed = SystemRandom().randrange(1_000_000) if given.seed is None else given.seed
    print(f"soak of {given.minutes:g} minutes, seed {seed}", flush=True)
    try:
        record = asyncio.run(_ended_by_signals(Options(given.minutes, seed)))
    except (KeyboardInterrupt, asyncio.CancelledError):
        return 130
    findings = check_all(record)
    print("\n".join(map(str, findings)))
    return 0 if all(finding.holds for finding in findings) else 1


if __name__ == "__main__":
    sys.exit(main())
