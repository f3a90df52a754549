"""The engine: an arq worker that carries thousands of LLM calls.

    claim    one script leases a batch of due jobs, lane after lane      scripts.py  lua/claim.lua
    run      a coroutine a job                                           run.py
    crew     the runs of this worker: started, cancelled, concluded      crew.py
    renew    one call prolongs every lease, from a thread of its own     renew.py    lua/renew.lua
    finish   outcomes that come together are written together            finish.py   lua/finish.lua
    wake     a signal, not a poll, starts the next claim                 wake.py
    report   what it asks of a server first, and tells of itself         report.py
    drain    what a worker does when it is told to stop                  drain.py
    outage   what it does when Redis cannot be reached                   outage.py

`worker.py` is the loop that holds them together, `seam.py` the one place where arq meets it.
"""

from .seam import install
from .worker import Engine

__all__ = ["Engine", "install"]
