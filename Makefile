# make run    install into .venv and serve on $(BIND), with all data under $(STATE)
# make quick  formatting, lint, types, layers, and the tests that need no server: 2.5 minutes
# make test   the same with all tests
# make sample write etc/*.sample, and the tables of the API and of metrics in doc/, again
# make share  write the manual page and completion scripts, which packages contain, into share/
# make dist   build the sdist, the wheel and an SBOM of both with all dependencies into dist/
# make bench  run all benchmarks: imsgate beside the floor and, with GLANCE_VENV, Glance (BENCH="--store DIR" for a
#             disk), then bench-parts; the last line of output is for benchmarks/history.md
# make bench-parts  all other benchmarks; what needs a missing program (weed, nginx, a database) is left out. An hour.
# make fuzz   feed the format inspectors random input for $(FUZZ_SECONDS) seconds
# make compare   write doc/formats-compared.md again

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIND ?= 127.0.0.1:9292
STATE ?= .state
VENV := .venv
BIN := $(VENV)/bin

FUZZ_SECONDS ?= 60
# Test processes. More than two CPUs, because many tests wait for a server: for a third of their time.
# Each process takes 25 s to collect the tests.
JOBS ?= 5
# Quick tests do not wait.
QUICK_JOBS ?= 2
# All markers of pyproject.toml.
QUICK := not (gateway or s3 or nginx or postgresql or mariadb or keystone or broker or browser or slow)
# All of these have such a marker. Only to collect them takes seconds.
NOT_QUICK := $(addprefix --ignore=tests/,adoption bridge conversion doctor functional testing verification)

# All benchmarks except compare.py, which takes options.
BENCH_PARTS ?= memory inspect_formats start resumable register s3 front connections scale

# If it is set, each of about a thousand processes compiles again everything that it imports.
unexport PYTHONDONTWRITEBYTECODE

# The extras whose packages the SBOM lists, with theirs.
SBOM_EXTRAS ?= celery,client,glance-store,keystone,mysql,notifications,postgresql,server,signatures,tracing,zstd

.PHONY: run quick test lint style types sample share dist bench bench-parts fuzz compare clean

run: $(VENV)/.serve
	$(BIN)/imsgate serve --bind $(BIND) --state $(STATE)

quick: $(VENV)/.test
	$(MAKE) --no-print-directory lint
	$(BIN)/python -m pytest -q -n $(QUICK_JOBS) -m "$(QUICK)" $(NOT_QUICK)

test: $(VENV)/.test
	$(MAKE) --no-print-directory lint
	$(BIN)/python -m pytest -n $(JOBS)

lint: $(VENV)/.test
	$(MAKE) --no-print-directory --jobs=2 --output-sync types style

style: $(VENV)/.test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports

types: $(VENV)/.test
	$(BIN)/mypy

sample: $(VENV)/.test
	$(BIN)/imsgate config generate --output etc/imsgate.conf.sample
	$(BIN)/oslopolicy-sample-generator --namespace imsgate --output-file etc/policy.yaml.sample
	$(BIN)/python -m tests.api.table
	$(BIN)/python -m tests.api.ims_table
	$(BIN)/python -m tests.metrics.table

share: $(VENV)/.test
	mkdir -p share/man/man1 share/bash-completion/completions share/zsh/site-functions
	COLUMNS=80 $(BIN)/argparse-manpage --module imsgate.cmd.main --function parser --project-name imsgate \
		--version "$$($(BIN)/imsgate --version | cut -d ' ' -f 2)" --manual-title 'imsgate manual' \
		--description 'upload gateway for virtual machine images' --output share/man/man1/imsgate.1
	$(BIN)/imsgate completion bash >share/bash-completion/completions/imsgate
	$(BIN)/imsgate completion zsh >share/zsh/site-functions/_imsgate

# The SBOM lists the versions that pip installs today. Its tool has an environment of its own,
# because some of its packages change what others do, such as requests.
dist: $(VENV)/.test share
	rm -rf build dist
	$(BIN)/python -m build
	$(PYTHON) -m venv --without-pip build/installed
	$(PYTHON) -m venv build/cyclonedx
	$(BIN)/python -m pip --python build/installed/bin/python install --quiet --no-compile "$$(echo dist/*.whl)[$(SBOM_EXTRAS)]"
	# It names this file by its path here.
	rm build/installed/lib/python*/site-packages/imsgate-*.dist-info/direct_url.json
	build/cyclonedx/bin/python -m pip install --quiet 'cyclonedx-bom>=7'
	build/cyclonedx/bin/cyclonedx-py environment --output-reproducible \
		--output-file "$$(echo dist/*.tar.gz | sed 's/.tar.gz$$/.cdx.json/')" build/installed/bin/python

bench: $(VENV)/.test
	$(BIN)/python benchmarks/compare.py $(BENCH)
	$(MAKE) --no-print-directory bench-parts
	@$(BIN)/python benchmarks/history.py

bench-parts: $(VENV)/.test
	@for part in $(BENCH_PARTS); do \
		echo "== $$part"; $(BIN)/python benchmarks/$$part.py || echo "$$part did not finish, or found what is too slow"; \
	done

fuzz: $(VENV)/.test
	$(BIN)/python -m pip install --quiet atheris
	$(BIN)/python -m tests.formats.fuzz .fuzz -max_total_time=$(FUZZ_SECONDS)

compare: $(VENV)/.test
	$(BIN)/python -W ignore -m tests.formats.compare doc/formats-compared.md

clean:
	rm -rf $(VENV) .state .fuzz build dist share *.egg-info .pytest_cache .hypothesis .mypy_cache .ruff_cache

# The pip that comes with Python takes twice as long as the newest one.
$(VENV)/bin/python:
	$(PYTHON) -m venv --upgrade-deps $(VENV)

$(VENV)/.serve: $(VENV)/bin/python setup.cfg pyproject.toml
	$(BIN)/python -m pip install --quiet --editable .[server,zstd]
	touch $@

# Most modules of the clients' packages are never imported. Compiling them took a quarter of the time.
$(VENV)/.test: $(VENV)/bin/python setup.cfg pyproject.toml
	$(BIN)/python -m pip install --quiet --no-compile --editable .[test]
	touch $@ $(VENV)/.serve
