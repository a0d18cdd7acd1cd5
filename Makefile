# make run    install into .venv and serve on $(BIND), everything kept under $(STATE)
# make test   lint, types, layers and tests
# make bench  imsgate beside the floor and, with GLANCE_VENV, Glance; BENCH="--store DIR" for a disk
# make bench-parts  memory, format inspection
# make fuzz   feed the format inspectors for $(FUZZ_SECONDS)
# make compare   write doc/formats-compared.md anew

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIND ?= 127.0.0.1:9292
STATE ?= .state
VENV := .venv
BIN := $(VENV)/bin

FUZZ_SECONDS ?= 60
# Processes of tests; more than processors, since many wait.
JOBS ?= 3

# Where it is set, each of some thousand processes would compile anew what it imports.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run test lint sample bench bench-parts fuzz compare clean

run: $(VENV)/.serve
	$(BIN)/imsgate serve --bind $(BIND) --state $(STATE)

test: $(VENV)/.test
	$(MAKE) --no-print-directory lint
	$(BIN)/python -m pytest -n $(JOBS)

lint: $(VENV)/.test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/mypy

sample: $(VENV)/.test
	$(BIN)/imsgate config generate --output etc/imsgate.conf.sample
	$(BIN)/oslopolicy-sample-generator --namespace imsgate --output-file etc/policy.yaml.sample
	$(BIN)/python -m tests.api.table
	$(BIN)/python -m tests.api.ims_table

bench: $(VENV)/.test
	$(BIN)/python benchmarks/compare.py $(BENCH)

bench-parts: $(VENV)/.test
	$(BIN)/python benchmarks/memory.py
	$(BIN)/python benchmarks/inspect_formats.py

fuzz: $(VENV)/.test
	$(BIN)/python -m pip install --quiet atheris
	$(BIN)/python -m tests.formats.fuzz .fuzz -max_total_time=$(FUZZ_SECONDS)

compare: $(VENV)/.test
	$(BIN)/python -W ignore -m tests.formats.compare doc/formats-compared.md

clean:
	rm -rf $(VENV) .state .fuzz build dist *.egg-info .pytest_cache .hypothesis .mypy_cache .ruff_cache

# The pip that comes with Python takes twice the time of a new one.
$(VENV)/bin/python:
	$(PYTHON) -m venv --upgrade-deps $(VENV)

$(VENV)/.serve: $(VENV)/bin/python setup.cfg pyproject.toml
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

# Most of what clients' packages hold is never imported: compiling it took a quarter of the time.
$(VENV)/.test: $(VENV)/bin/python setup.cfg pyproject.toml
	$(BIN)/python -m pip install --quiet --no-compile --editable .[test]
	touch $@ $(VENV)/.serve
