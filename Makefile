# make demo                 serve the example project, feed it, watch it, leave it running (ARGS=--once: end by itself)
# make test                 all tests (ARGS= goes to pytest)
# make sim                  simulate the service under faults, 5,000 seeds (ARGS=--seconds 600: as long as that)
# make check | lint | bench

SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= python3

.DEFAULT_GOAL := help
.PHONY: help demo test sim bench check lint types

help: ## Show what there is.
	@sed -n 's/^\([a-z]*\):.*## /make \1\t/p' $(MAKEFILE_LIST)

demo: $(VENV)/installed ## Serve the example project, feed it and watch it (ARGS=--once ends by itself).
	@$(BIN)/python -m demo $(ARGS)

test: $(VENV)/installed-dev ## Run all tests.
	$(BIN)/python -m pytest $(ARGS)

sim: $(VENV)/installed-dev ## Simulate the service under faults, by seed (ARGS="--seed 7": one seed).
	@$(BIN)/python -m tidemill.testing.simulation --seeds 5000 $(ARGS)

bench: $(VENV)/installed-dev ## Run the benchmarks: one JSON object a line.
	@$(BIN)/python -m benchmarks $(ARGS)

check: lint types ## Everything but the tests: format, lint, import contract, types.
	$(BIN)/lint-imports

lint: $(VENV)/installed-dev ## Format and lint.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/installed-dev ## Types.
	$(BIN)/mypy
	$(BIN)/mypy demo

$(BIN)/python:
	@PYTHON=$(PYTHON) scripts/venv $(VENV)

$(VENV)/installed: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/installed-dev: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@ $(VENV)/installed
