# make run   sets up, completes examples/prompts.jsonl on a private stack, prints the answers
# make test  sets up, passes every test
# make check what CI runs: format, lint, types, tests
# make bench measures us beside other queues, on this machine: most of an hour (docs/benchmarks.md)

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	$$p -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { echo $$p; break; }; done)

.PHONY: run test check setup lint setup-bench bench clean

run: setup
	$(BIN)/promptmill run examples/prompts.jsonl --simulate --table

test: setup
	$(BIN)/python -m pytest

check: setup lint
	$(MAKE) --no-print-directory test

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

setup: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml
	@test -n "$(PYTHON)" || { echo "promptmill needs Python 3.11 or newer: install it, or name one with 'make PYTHON=/path/to/python3'." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

setup-bench: $(VENV)/.installed-bench

$(VENV)/.installed-bench: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[bench]'
	@touch $@

bench: setup-bench
	$(BIN)/python -m benchmarks --save build/benchmarks

clean:
	rm -rf $(VENV) .promptmill build *.egg-info .mypy_cache .pytest_cache .ruff_cache
