# Everything happens in .venv, which is made when it is missing. `make` lists the targets.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -qq
ARGS ?=

# A wheel is installed, not the source tree, so what is tested is what is shipped.
SOURCES := setup.py pyproject.toml MANIFEST.in $(shell find ext src -type f \
	! -name '*.so' ! -name '*.pyc' ! -path '*.egg-info*')

LINTED := setup.py src tests tools benches
SANITIZED := build/sanitize/lib
COVERED := build/coverage
ASAN = $(shell $(CC) -print-file-name=libasan.so)
# Those that drive the compiled core with input of every kind. The rest is Python, where the
# sanitizers find nothing and take ten times as long.
SANITIZE_TESTS ?= $(wildcard $(addsuffix .py, $(addprefix tests/test_, \
	faults splits rules values core machine plain reuse properties hiding_places icons ordinary \
	not_ordinary changing_files system keyed keys)))

.PHONY: help demo test canaries lint types kill-loop bench bench-quick instructions sanitize fuzz \
	coverage wheel clean

help:
	@echo 'make demo         build, and de-identify a real file in a pipe'
	@echo 'make test         all tests (ARGS="-k pipe" goes to pytest)'
	@echo 'make canaries     100,000 random files full of canaries: none may be left (some minutes)'
	@echo 'make lint         ruff, its formatter, and the shipped tables'
	@echo 'make types        mypy'
	@echo 'make kill-loop    hundreds of kills of copy and patch (ARGS="--kills 1000 --seed 1")'
	@echo 'make bench-quick  benchmarks, within two minutes'
	@echo 'make bench        all benchmarks, about 20 minutes; results and charts go to benches/results'
	@echo '                  (ARGS="--only peers,pipe" some parts; the others stay as they are)'
	@echo 'make instructions  none of the paths takes more instructions than recorded (valgrind)'
	@echo 'make sanitize     tests of the core with address and undefined-behaviour sanitizers'
	@echo 'make fuzz         libFuzzer on the core for a minute (ARGS="-max_total_time=3600")'
	@echo 'make coverage     lines and branches of ext/ that the tests run'
	@echo 'make wheel        dist/: an sdist, and a wheel built from it'
	@echo 'make clean        remove what these made'
	@echo 'PYTHON=python3.12 chooses the interpreter of a new .venv'

demo: $(VENV)/.test
	@$(BIN)/python tools/demo.py

test: $(VENV)/.test
	$(BIN)/pytest $(ARGS)

canaries: $(VENV)/.test
	nice -n 15 $(BIN)/python tests/canary_storm.py $(ARGS)

lint: $(VENV)/.test $(VENV)/.lint
	$(BIN)/ruff check $(LINTED)
	$(BIN)/ruff format --check $(LINTED)
	$(BIN)/python tools/make_tables.py --check
	$(BIN)/python tools/freeze_basic.py --check

types: $(VENV)/.test $(VENV)/.lint
	$(BIN)/mypy

kill-loop: $(VENV)/.test
	$(BIN)/python tests/crashes.py $(ARGS)

bench: $(VENV)/.bench
	$(BIN)/python benches/record.py $(ARGS)

bench-quick: $(VENV)/.test
	$(BIN)/python benches/record.py --quick $(ARGS)

# ARGS=--record where a change is meant to take more, or takes less.
instructions: $(VENV)/.test $(VENV)/.lint
	$(BIN)/python benches/instructions.py $(ARGS)

sanitize: $(VENV)/.test $(VENV)/.lint
	DCMVEIL_SANITIZE=1 $(BIN)/python setup.py -q build -b build/sanitize --build-lib $(SANITIZED)
	LD_PRELOAD=$(ASAN) ASAN_OPTIONS=detect_leaks=0 PYTHONMALLOC=malloc \
	PYTHONPATH=$(SANITIZED) $(BIN)/pytest -p no:cacheprovider $(ARGS) $(SANITIZE_TESTS)

# Needs clang with its runtime libraries. A finding stays in build/fuzz/findings.
fuzz: $(VENV)/.test $(VENV)/.lint
	tests/fuzz/run.sh $(BIN)/python -max_total_time=60 $(ARGS)

coverage: $(VENV)/.test $(VENV)/.lint
	rm -rf $(COVERED)
	DCMVEIL_COVERAGE=1 $(BIN)/python setup.py -q build -b $(COVERED) --build-lib $(COVERED)/lib
	PYTHONPATH=$(COVERED)/lib $(BIN)/pytest -p no:cacheprovider -k 'not linear' $(ARGS)
	$(BIN)/python tools/ext_coverage.py $(COVERED) --missing

wheel: $(VENV)/.lint
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/python tools/check_wheel.py dist/*.whl

clean:
	rm -rf $(VENV) build dist src/*.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis .benchmarks

# setuptools keeps what it once built: a module that was renamed would be shipped under both names.
$(VENV)/.test: $(SOURCES) | $(BIN)/python
	rm -rf build/lib*
	$(PIP) install '.[test]'
	@touch $@

# The peers in Python, and the charts: large, and wanted by the benches alone.
$(VENV)/.bench: $(VENV)/.test
	$(PIP) install '.[bench]'
	@touch $@

# The tools alone: `pip install .[lint]` would build the package again.
$(VENV)/.lint: pyproject.toml | $(BIN)/python
	$(PIP) install $$($(BIN)/python -c 'import tomllib; \
	  project = tomllib.load(open("pyproject.toml", "rb"))["project"]; \
	  print(*project["optional-dependencies"]["lint"])')
	@touch $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo 'dcmveil needs Python 3.11 or newer: make PYTHON=/path/to/python3.12 ...' >&2; exit 1; }
	@command -v $(CC) > /dev/null || { \
	  echo 'dcmveil is built with a C compiler, and there is none: $(CC)' >&2; exit 1; }
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }
	@# The console scripts of older ones import re, which takes half as long as a whole small run.
	$(PIP) install --upgrade pip
