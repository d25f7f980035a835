# What a developer does with a checkout. `make` alone lists it.

PYTHON ?= python3
ARGS ?=

# Makes what a target needs (tools/prepare.py); its argument is the target.
PREPARE = command -v "$(PYTHON)" >/dev/null || \
	    { echo 'make: there is no $(PYTHON): Python 3.11 or newer is needed' >&2; exit 1; }; \
	"$(PYTHON)" -S -c 'import sys; v = sys.version_info; v < (3, 11) and sys.exit("make: Python" \
	    " 3.11 or newer is needed, and $(PYTHON) is %d.%d: make PYTHON=/path/to/python3.11" % v[:2])' && \
	exec "$(PYTHON)" -IS tools/prepare.py

export PATH := $(PATH):/usr/sbin:/sbin
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Else each of the tests' thousands of processes would compile all modules again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help run demo test clients bench faults mutants soak machine deb lint requirements venv clean
.PHONY: .venv/.dev

help:
	@echo 'make run    start the gateway with the embedded archive and an nginx in front of it'
	@echo 'make demo   the same with simulated flights, receivers and sensors (ARGS="--seed 7")'
	@echo 'make test   run all tests (ARGS="-k journal -x" goes to pytest)'
	@echo 'make clients  run the clients of other networks and what docs/analysis.md shows, from the package index'
	@echo 'make bench  measure the gateway beside its peers (ARGS="--quick"; see benchmarks/README.md)'
	@echo 'make faults  run the fault campaign, for an hour or so (ARGS="--seed 7 --only gateway.kill")'
	@echo 'make mutants  break the code on purpose and see that the campaign notices (ARGS=--full)'
	@echo 'make soak   load the gateway for an hour and a half (ARGS="--scale 0.1 --only backlog")'
	@echo 'make machine  install and operate it on a bare Debian 12, in qemu (ARGS="--only power --keep")'
	@echo 'make deb    build the package for Debian 12 and 13 and Ubuntu 24.04, in dist/'
	@echo 'make lint   ruff and mypy; known holes in the pinned versions, where there is a network'
	@echo 'make requirements  pin the versions of a release (ARGS=--upgrade for the newest)'
	@echo 'make venv   make .venv with everything a developer needs'
	@echo 'make clean  remove what the other targets made, but not the data in var/'

run:
	@$(PREPARE) run

demo:
	@$(PREPARE) demo $(ARGS)

test:
	@$(PREPARE) test
	.venv/bin/python -m pytest --numprocesses $$(($$(nproc) + 3)) --dist loadfile \
	    --no-loadscope-reorder $(ARGS)

# What can't be installed is skipped with the reason.
clients:
	@$(PREPARE) clients
	.venv/bin/python -m tests.clients
	.venv/bin/python -m pytest tests/clients tests/docs/test_analysis.py $(ARGS)

# A peer that can't be had is told as missing by the run itself.
bench:
	@$(PREPARE) bench
	.venv/bin/python -m benchmarks run $(ARGS)
	.venv/bin/python -m benchmarks.networks

faults:
	@$(PREPARE) faults
	.venv/bin/python -m tests.faults $(ARGS)

mutants:
	@$(PREPARE) mutants
	.venv/bin/python -m tests.faults.mutants $(ARGS)

soak:
	@$(PREPARE) soak
	.venv/bin/python -m tests.soak $(ARGS)

machine:
	@$(PREPARE) machine
	.venv/bin/python -m tests.machine $(ARGS)

deb:
	@$(PREPARE) deb
	@.venv/bin/python -m tools.package

lint: venv
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/lint-imports
	@.venv/bin/python tools/audit.py

requirements: venv
	CUSTOM_COMPILE_COMMAND='make requirements' .venv/bin/pip-compile --quiet --generate-hashes \
	    --strip-extras --allow-unsafe --no-emit-options --no-emit-index-url \
	    --no-emit-trusted-host --no-emit-find-links $(ARGS) \
	    --output-file requirements.txt pyproject.toml

venv:
	@$(PREPARE) venv

.venv/.dev: venv

clean:
	rm -rf .venv build dist *.egg-info tests/couchdb/node_modules
	rm -rf .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find habitat_like benchmarks tests tools -name __pycache__ -type d -prune -exec rm -rf {} +
