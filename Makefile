# One environment, .venv, made on first use. `make demo` installs what the two processes need;
# `make test` adds what the tests, the training and the measurements need.
SHELL  := bash
PYTHON ?= python3
BIN    := .venv/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check --no-input -qq
DEMO   ?=

.DEFAULT_GOAL := help
.PHONY: help demo test check slow proto format clean

help: ## this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 16

demo: .venv/demo.stamp ## a real server and a real camera process on this machine; ends by itself
	@$(BIN)/python deploy/demo.py $(DEMO)

test: .venv/test.stamp check ## what CI runs: the checks, then every test that takes seconds
	@$(BIN)/python -m pytest -q -m 'not slow'

check: .venv/test.stamp ## format, lint, types and the direction of imports; changes nothing
	@$(BIN)/ruff format --check --quiet . || { echo "run: make format"; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

slow: .venv/test.stamp ## the tests that take minutes
	@$(BIN)/python -m pytest -q -m slow

format: .venv/test.stamp ## put the sources into their one format
	@$(BIN)/ruff format --quiet .
	@$(BIN)/ruff check --fix --quiet .

proto: .venv/test.stamp ## lint the contract and generate glimpse/v1 from it
	@$(BIN)/buf lint proto
	@$(BIN)/python proto/generate.py

clean: ## remove the environment and every cache
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis *.egg-info build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	    || { echo "glimpse needs Python 3.11 or newer: make $(MAKECMDGOALS) PYTHON=python3.11"; exit 1; }
	@$(PYTHON) -m venv .venv

.venv/demo.stamp: pyproject.toml constraints.txt | .venv/bin/python
	@echo "installing into .venv: about a minute, 1.3 GB on disk"
	@$(PIP) install -c constraints.txt -e '.[edge,cloud]'
	@touch $@

.venv/test.stamp: pyproject.toml constraints.txt | .venv/bin/python
	@echo "installing into .venv: about two minutes, 1.9 GB on disk"
	@$(PIP) install -c constraints.txt -e '.[edge,cloud,train,bench,peer,dev]'
	@touch $@ .venv/demo.stamp
