"""A provider that tells the truth: OpenAI's, Anthropic's and Google's APIs with latency, caps and faults.

It imports nothing else of the project. `promptmill simulator --help` lists what it can do;
`GET /stats` says what really happened and `PATCH /config` changes its behaviour while it runs.
"""

from .app import create_app, serve
from .config import InvalidConfig, SimulatorConfig

__all__ = ["InvalidConfig", "SimulatorConfig", "create_app", "serve"]
