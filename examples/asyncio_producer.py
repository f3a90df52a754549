"""REDIS_URL=redis://localhost:6379 python -m examples.asyncio_producer"""

import asyncio
import os

from client import JobError, Queue

CITIES = [f"city number {number}" for number in range(100)]


async def main() -> None:
    async with Queue.from_url(os.environ["REDIS_URL"]) as queue:
        jobs = await queue.chat_many(f"Describe {city} in one sentence." for city in CITIES)
        waits = [job.result(timeout_s=300) for job in jobs]  # one connection waits for all of them
        answers = await asyncio.gather(*waits, return_exceptions=True)
    for city, answer in zip(CITIES, answers, strict=True):
        if isinstance(answer, JobError):
            print(f"{city}: failed: {answer}")
        elif isinstance(answer, BaseException):
            raise answer
        else:
            print(f"{city}: {answer.text}")


if __name__ == "__main__":
    asyncio.run(main())
