"""docket (pydocket): its CLI; `add_many` and `Execution.get_result`."""

from __future__ import annotations

from collections.abc import Sequence

from docket import Docket

from benchmarks.job import work
from benchmarks.system import System, Work

_NAME = "bench"

tasks = [work]


class DocketClient:
    def __init__(self, docket: Docket) -> None:
        self._docket = docket
        docket.register(work)

    async def enqueue(self, works: Sequence[Work]) -> None:
        await self._docket.add_many(self._docket.call(work)(*one.arguments) for one in works)

    async def enqueue_one(self, one: Work) -> None:
        await self._docket.add(work)(*one.arguments)

    async def call(self, one: Work) -> int:
        execution = await self._docket.add(work)(*one.arguments)
        started_ns: int = await execution.get_result()
        return started_ns

    async def close(self) -> None:
        await self._docket.__aexit__(None, None, None)


async def _connect(url: str) -> DocketClient:
    docket = Docket(name=_NAME, url=url)
    await docket.__aenter__()
    return DocketClient(docket)


def _worker(concurrency: int, url: str) -> Sequence[str]:
    options = (
        "--docket",
        _NAME,
        "--url",
        url,
        "--concurrency",
        str(concurrency),
        "--logging-level",
        "WARNING",
    )
    return "docket", "worker", *options, "--tasks", f"{__name__}:tasks"


SYSTEMS = (System(name="docket", worker=_worker, connect=_connect, packages=("pydocket",)),)
