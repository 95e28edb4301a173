.DEFAULT_GOAL := help
SHELL := /bin/sh
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3 python; do command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
STAMP := .venv/.installed
ARGS ?=
# Processes that share the tests; what is narrowed down runs in this one, where -s and a debugger work.
JOBS ?= $(if $(ARGS),0,auto)

.PHONY: help setup demo up test check unit faults bench bench-peers images format clean

help: ## show this
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | awk -F'\t' '{printf "  make %-11s %s\n", $$1, $$2}'

setup: $(STAMP) ## install everything into .venv, from requirements.lock with hashes

$(STAMP): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "holdfast needs Python 3.11 or newer: none was found (set PYTHON=/path/to/python3)" >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) cannot make virtual environments: install its venv module" >&2; exit 2; }
	@echo "installing into .venv with $$($(PYTHON) --version), about a minute …"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: $(STAMP) ## play the main job on a fresh system and prove that nothing is lost (ARGS=--postgres)
	@$(BIN)/holdfast demo $(ARGS)

up: $(STAMP) ## keep a whole system running on this machine (ARGS="--port 9000 --postgres")
	@$(BIN)/holdfast up $(ARGS)

test: $(STAMP) ## every test, on real servers (ARGS="-k fence")
	@$(BIN)/python -m pytest -n $(JOBS) --maxprocesses=4 --dist=worksteal $(ARGS)

check: $(STAMP) ## lint, types, import rules, unit tests: under a minute
	@$(BIN)/ruff format --check --quiet . && $(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports >/dev/null || $(BIN)/lint-imports
	@$(BIN)/python -m pytest -n $(JOBS) --maxprocesses=4 --dist=worksteal tests/unit tests/architecture tests/contracts $(ARGS)

faults: $(STAMP) ## only the tests that kill, stop, wipe and restart real processes
	@$(BIN)/python -m pytest tests/faults -s $(ARGS)

bench: $(STAMP) ## measure against references, interleaved; writes bench/results/ (ARGS=drain)
	@$(BIN)/python -m bench $(ARGS)

bench-peers: $(STAMP) ## install the other job systems that bench stands beside, into .venv-peers, with hashes
	@$(BIN)/python -m bench.venv

images: ## build the three service images (needs a container engine)
	@for s in api webhooks media; do \
	  DOCKER_BUILDKIT=1 docker build --build-arg SERVICE=$$s --build-arg REVISION=$$(git rev-parse HEAD) -t holdfast-$$s . || exit 1; done

format: $(STAMP) ## let ruff format and fix
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix --quiet .

clean: ## remove .venv and caches (never .holdfast, which is data)
	@rm -rf .venv .venv-peers .pytest_cache .mypy_cache .ruff_cache .hypothesis
