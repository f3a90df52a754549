"""Who has started and who has ended, in memory that the workers share with us.

Every system under test runs the same job (`peers/*.py`, `jobs_of_ours.py`), and every job has a number.
The job writes the time of its start and of its end, and counts both, into the records of that number in a
file that all workers map. So the end of a run is seen the same way for all systems, costs a job less
than a microsecond and Redis nothing, and lost jobs and jobs that ran twice show as well.

A run has ended when every number has an end; its length is from the first start to the last end.
"""

from __future__ import annotations

import mmap
import os
from functools import cache
from pathlib import Path
from time import time_ns

PATH_VARIABLE = "BENCH_TALLY"

_RECORD_BYTES = 18  # two times of 8 bytes, two counts of 1


class Tally:
    """The records of `jobs` jobs. Times are Unix nanoseconds, 0 where it has not happened."""

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            view = memoryview(mmap.mmap(file.fileno(), 0))
        self.path = path
        self.jobs = jobs = len(view) // _RECORD_BYTES
        self.started_ns = view[: 8 * jobs].cast("q")
        self.ended_ns = view[8 * jobs : 16 * jobs].cast("q")
        self.starts = view[16 * jobs : 17 * jobs]
        self.ends = view[17 * jobs :]

    @classmethod
    def create(cls, path: Path, jobs: int) -> Tally:
        path.write_bytes(bytes(_RECORD_BYTES * jobs))
        return cls(path)

    def begin(self, number: int) -> int:
        """The job has started. Returns when, in Unix nanoseconds."""
        now_ns = self.started_ns[number] = time_ns()
        self.starts[number] += 1
        return now_ns

    def end(self, number: int) -> None:
        self.ended_ns[number] = time_ns()
        self.ends[number] += 1

    def started(self) -> int:
        """How many jobs have started, however often."""
        return self.jobs - self.starts.tobytes().count(0)

    def ended(self) -> int:
        """How many jobs have ended, however often."""
        return self.jobs - self.ends.tobytes().count(0)

    def first_start_ns(self) -> int:
        return min((at for at in self.started_ns if at), default=0)

    def last_end_ns(self) -> int:
        return max(self.ended_ns, default=0)


@cache
def of_this_worker() -> Tally:
    """The tally that whoever started this worker reads."""
    return Tally(Path(os.environ[PATH_VARIABLE]))
