# One short list of commands, for people and for CI. No logic here; tools come from the active environment:
#   make check                           with an activated environment
#   make check PYTHON=.venv/bin/python   with any other

PYTHON ?= python

.PHONY: help format check test test-slow test-gpu bench results docs

help:
	@echo "make format | check | test | test-slow | test-gpu | bench | results | docs   [PYTHON=...]"

format:
	$(PYTHON) -m ruff format
	$(PYTHON) -m ruff check --fix

check:
	$(PYTHON) -m ruff format --check
	$(PYTHON) -m ruff check
	$(PYTHON) -m mypy
	$(PYTHON) -c "from importlinter.cli import lint_imports_command as lint; lint()" --no-logo

test:
	$(PYTHON) -m pytest -m "not slow and not gpu"

test-slow:
	$(PYTHON) -m pytest -m "slow"

test-gpu:
	$(PYTHON) -m pytest -m "gpu"

bench:
	$(PYTHON) benchmarks/run.py mtt
	$(PYTHON) benchmarks/run.py experts
	$(PYTHON) benchmarks/run.py evaluate

results:
	$(PYTHON) benchmarks/reproduce.py --document

docs:
	$(PYTHON) -m zensical build --clean --strict
