"""`promptmill run`: a file of prompts in, a file of answers out, resumable at any point.

with open_plan(options, settings) as plan:      every line checked, nothing sent
    summary = await run(plan, queue, progress=…, stop=StopSignal())
"""

from .options import Defaults, InputError, OutputError, RunOptions
from .plan import Plan, Report, check, open_plan
from .progress import PlainProgress, Progress, open_progress
from .runner import Timing, conclude, run
from .stop import StopSignal
from .summary import RunSummary

__all__ = [
    "Defaults",
    "InputError",
    "OutputError",
    "PlainProgress",
    "Plan",
    "Progress",
    "Report",
    "RunOptions",
    "RunSummary",
    "StopSignal",
    "Timing",
    "check",
    "conclude",
    "open_plan",
    "open_progress",
    "run",
]
