# The two commands of a newcomer are `make demo` and `make test`; each makes the environment first.

PYTHON ?= python3
BIN := .venv/bin
DEMO := runs/demo

# CPU unless the user says otherwise: with an accelerator's plugin installed, JAX would look for it.
export JAX_PLATFORMS ?= cpu
# XLA takes fresh buffers from malloc at every step; with huge pages a CPU step costs a fifth less.
export GLIBC_TUNABLES ?= glibc.malloc.hugetlb=1

.PHONY: demo test test-slow test-peers lint format benchmark clean

demo: .venv/run.done
	$(BIN)/python -m launch.local --config configs/quickstart.py --workdir $(DEMO)
	@echo "The page: $(DEMO)/report.html"

test: lint
	$(BIN)/python -m pytest -n auto -m "not peers and not slow"

# Whole pods by the TPU compiler, longer chains of processes: minutes each.
test-slow: .venv/test.done
	$(BIN)/python -m pytest -m "slow and not peers"

# Needs torch: the pinned version of the `peers` extra.
test-peers: .venv/peers.done
	$(BIN)/python -m pytest -m peers

lint: .venv/test.done
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: .venv/test.done
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

benchmark: .venv/peers.done
	$(BIN)/python -m benchmarks

clean:
	rm -rf .venv build dist *.egg-info

# An environment is made again when what it should hold has changed.
.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "bigclip needs Python 3.11 or newer: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv .venv

.venv/run.done: setup.cfg | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

.venv/test.done: setup.cfg | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[test]"
	touch $@ .venv/run.done

.venv/peers.done: setup.cfg | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[test,peers]"
	touch $@ .venv/test.done .venv/run.done
