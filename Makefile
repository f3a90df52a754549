# make run   sets up, completes examples/prompts.jsonl on a private stack, prints the answers
# make test  sets up, passes every test
# make check format, lint, types, tests
# make test-others passes tests/unit on every other Python that the machine has; CI runs it after `make check`
# make test-slots passes tests/server in a namespace, on one node of a cluster, where no script may leave its slot; so does CI
# make soak  random faults against real processes, for MINUTES=2, drawn from SEED= (printed): tells every check that fails
# make bench measures us beside other queues, on this machine: most of an hour (docs/benchmarks.md)

VENV := .venv
BIN := $(VENV)/bin
# For a new environment; one that exists keeps its Python until `make clean`.
PYTHON ?= $(shell .ci/pythons | sed -n '1s/^[^ ]* //p')
TESTS ?=
MINUTES ?= 2
SEED ?=

.PHONY: run test test-others test-slots check setup lint soak setup-bench bench clean

run: setup
	$(BIN)/promptmill run examples/prompts.jsonl --simulate --table

test: setup
	$(BIN)/python -m pytest $(TESTS)

test-others: setup
	@.ci/pythons | { failed=0; while read -r version python; do \
		$(BIN)/python -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] == '$$version')" || continue; \
		echo "Python $$version"; \
		$(MAKE) --no-print-directory test VENV=.venvs/$$version PYTHON=$$python TESTS=tests/unit </dev/null || failed=1; \
	done; exit $$failed; }

test-slots: setup
	STRICT_SLOTS=1 $(BIN)/python -m pytest tests/server

check: setup lint
	$(MAKE) --no-print-directory test

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

setup: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml
	@$(BIN)/python -c '' 2>/dev/null || { python="$(PYTHON)"; test -n "$$python" || { \
		echo "promptmill needs Python 3.11 or newer: install it, or name one with 'make PYTHON=/path/to/python3'." >&2; exit 1; }; \
		"$$python" -m venv --clear $(VENV); }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

soak: setup
	$(BIN)/python -m tests.soak --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))

setup-bench: $(VENV)/.installed-bench

$(VENV)/.installed-bench: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[bench]'
	@touch $@

bench: setup-bench
	$(BIN)/python -m benchmarks --save build/benchmarks

clean:
	rm -rf $(VENV) .venvs .promptmill build *.egg-info .mypy_cache .pytest_cache .ruff_cache
