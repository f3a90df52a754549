"""REDIS_URL=redis://localhost:6379 python -m examples.enqueue_my_jobs"""

import os

from client import SyncQueue

TEXT = "Redis is an in-memory data store. A queue in it survives the process that filled it."

if __name__ == "__main__":
    with SyncQueue.from_url(os.environ["REDIS_URL"]) as queue:
        counted = queue.enqueue("count_words", TEXT)
        summary = queue.enqueue("summary", TEXT, words=5, _job_id="summary-of-redis")  # once, however often
        print(counted.result(timeout_s=60), summary.result(timeout_s=60))
