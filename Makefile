# What a developer does with a checkout. `make` alone lists it.

PYTHON ?= python3
ARGS ?=
NPM_PACKAGES := tests/couchdb/node_modules/.installed

export PATH := $(PATH):/usr/sbin:/sbin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help run test bench faults mutants soak machine lint requirements venv clean
.PHONY: nginx node gcc wrk uwsgi chromium qemu

help:
	@echo 'make run    start the gateway with the embedded archive and an nginx in front of it'
	@echo 'make test   run all tests (ARGS="-k journal -x" goes to pytest)'
	@echo 'make bench  measure the gateway beside its peers (ARGS="--quick"; see benchmarks/README.md)'
	@echo 'make faults  run the fault campaign, for an hour or so (ARGS="--seed 7 --only gateway.kill")'
	@echo 'make mutants  break the code on purpose and see that the campaign notices (ARGS=--full)'
	@echo 'make soak   load the gateway for an hour and a half (ARGS="--scale 0.1 --only backlog")'
	@echo 'make machine  install and operate it on a bare Debian 12, in qemu (ARGS="--only power --keep")'
	@echo 'make lint   ruff and mypy; known holes in the pinned versions, where there is a network'
	@echo 'make requirements  pin the versions of a release (ARGS=--upgrade for the newest)'
	@echo 'make venv   make .venv with everything a developer needs'
	@echo 'make clean  remove what the other targets made, but not the data in var/'

run: .venv/.run nginx
	@exec .venv/bin/python tools/run.py

test: .venv/.dev nginx node gcc wrk chromium $(NPM_PACKAGES)
	.venv/bin/python -m pytest --numprocesses $$(($$(nproc) + 1)) --dist loadfile \
	    --no-loadscope-reorder $(ARGS)

# A peer that can't be had is told as missing by the run itself.
bench: .venv/.bench nginx gcc wrk
	@$(MAKE) --no-print-directory uwsgi || true
	@$(MAKE) --no-print-directory node $(NPM_PACKAGES) || true
	.venv/bin/python -m benchmarks run $(ARGS)

faults: .venv/.dev .venv/.fuzz nginx node gcc $(NPM_PACKAGES)
	.venv/bin/python -m tests.faults $(ARGS)

mutants: .venv/.dev nginx node gcc $(NPM_PACKAGES)
	.venv/bin/python -m tests.faults.mutants $(ARGS)

soak: .venv/.dev nginx node gcc $(NPM_PACKAGES)
	.venv/bin/python -m tests.soak $(ARGS)

machine: .venv/.dev qemu
	.venv/bin/python -m tests.machine $(ARGS)

lint: .venv/.dev
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/lint-imports
	@.venv/bin/python tools/audit.py

requirements: .venv/.dev
	CUSTOM_COMPILE_COMMAND='make requirements' .venv/bin/pip-compile --quiet --generate-hashes \
	    --strip-extras --allow-unsafe --no-emit-options --no-emit-index-url \
	    --no-emit-trusted-host --no-emit-find-links $(ARGS) \
	    --output-file requirements.txt pyproject.toml

venv: .venv/.dev

clean:
	rm -rf .venv build dist *.egg-info tests/couchdb/node_modules
	rm -rf .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find habitat_like benchmarks tests tools -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps: each is made once, and again when what it depends on changes.

.venv/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo 'Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11'; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || tools/install-debian python3-venv
	$(PYTHON) -m venv --clear .venv
	@touch $@

.venv/.run: .venv/.made pyproject.toml setup.py
	.venv/bin/python -m pip install --quiet --editable .
	@touch $@

.venv/.dev: .venv/.made pyproject.toml setup.py
	.venv/bin/python -m pip install --quiet --editable '.[dev]'
	@touch .venv/.run $@

.venv/.bench: .venv/.dev pyproject.toml
	@if .venv/bin/python -m pip install --quiet --editable '.[bench]'; then touch $@; \
	else echo 'some peers could not be installed; the others are measured'; fi

# Where there is no atheris for this Python, the inputs are mutated without looking at coverage.
.venv/.fuzz: .venv/.made pyproject.toml
	.venv/bin/python -m pip install --quiet --only-binary atheris --editable '.[fuzz]' || true
	@touch $@

$(NPM_PACKAGES): tests/couchdb/package.json tests/couchdb/package-lock.json | node
	cd tests/couchdb && npm ci --ignore-scripts --no-audit --no-fund
	@touch $@

nginx:
	@command -v nginx >/dev/null || tools/install-debian nginx

node:
	@command -v node >/dev/null && command -v npm >/dev/null || tools/install-debian nodejs npm

gcc:
	@command -v gcc >/dev/null || tools/install-debian gcc libc6-dev

wrk:
	@command -v wrk >/dev/null || tools/install-debian wrk

uwsgi:
	@command -v uwsgi >/dev/null || tools/install-debian uwsgi-core uwsgi-plugin-python3

# Makes and runs the machine of `make machine`.
qemu:
	@command -v mmdebstrap >/dev/null && command -v qemu-system-x86_64 >/dev/null && \
	    command -v qemu-img >/dev/null || tools/install-debian mmdebstrap qemu-system-x86 qemu-utils

# The pages are tested in a real browser.
chromium:
	@command -v chromium >/dev/null || tools/install-debian chromium
