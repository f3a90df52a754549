"""One worker for the tests that do not stop theirs; each of the others starts its own."""

from tests.worker.fixtures import (
    _shared_processes,
    _shared_server,
    _shared_simulator,
    _shared_worker,
    processes,
    provider,
    worker,
)

__all__ = [
    "_shared_processes",
    "_shared_server",
    "_shared_simulator",
    "_shared_worker",
    "processes",
    "provider",
    "worker",
]
