"""The job, registered with our worker: it names this module in JOB_MODULES."""

from __future__ import annotations

from worker import job

from .job import work

job(work)
