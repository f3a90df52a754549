"""The one seam between arq and us.

`arq worker.WorkerSettings` ends in `arq.worker.create_worker`, which looks up the name `Worker` in its
own module. Binding our subclass there, when WorkerSettings is asked for, makes the stock CLI run our
engine: --burst, --watch, --check and --custom-log-dict included. Nothing else of arq is touched, and a
process that only imports `worker.job` is not touched at all.
"""

from __future__ import annotations

import arq.worker

from .worker import Engine


def install() -> None:
    """Makes arq's CLI run the Engine in this process. Idempotent."""
    arq.worker.Worker = Engine  # type: ignore[misc]
