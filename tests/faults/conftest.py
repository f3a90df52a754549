"""Each of these tests has a server and workers of its own, to be stopped and killed."""

from tests.worker.fixtures import _shared_processes, _shared_simulator, processes, provider

__all__ = ["_shared_processes", "_shared_simulator", "processes", "provider"]
