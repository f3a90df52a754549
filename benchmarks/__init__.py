"""How well it does, beside its peers on the same machine: `python -m benchmarks --help`, docs/benchmarks.md."""
