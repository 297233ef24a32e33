# Two commands do all: `make bench` and `make test`. Each makes .venv at its first call.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# asv looks for its tools and interpreters on the PATH.
ON_PATH := PATH="$(abspath $(BIN)):$$PATH"

.PHONY: help bench test test-slow quick lint format asv-smoke clean

help:
	@echo "make bench      write and load models through every format, then figures and a report"
	@echo "make test       the tests"
	@echo "make test-slow  the long ones: kills at random points, crash loops, asv's own environments, statistics by simulation"
	@echo "make quick      every benchmark once, through pytest (under 90 s)"
	@echo "make lint       ruff and mypy"
	@echo "make asv-smoke  one benchmark through an asv environment of its own"
	@echo "make clean      remove what runs have written; reference results stay"

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --constraint constraints.txt --editable '.[dev,all]'
	@touch $@

# What was measured before of the same code on this machine is kept; `bench-core run quick --force`
# measures it again. A run with failed samples (exit code 3) has a report, too, and then fails.
bench: $(INSTALLED)
	@status=0; $(BIN)/bench-core run quick || status=$$?; \
	case $$status in 0|3) $(BIN)/bench-core report && exit $$status;; *) exit $$status;; esac

test: $(INSTALLED)
	$(BIN)/python -m pytest tests -m "not slow"

test-slow: $(INSTALLED)
	$(BIN)/python -m pytest tests -m slow

quick: $(INSTALLED)
	$(BIN)/python -m pytest benchmarks --benchmark-only --quick

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

asv-smoke: $(INSTALLED)
	$(ON_PATH) asv machine --yes
	$(ON_PATH) asv run "HEAD^!" --environment virtualenv:$(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])') \
		--bench "storage_writes.DurableWrite.time_write\('(direct|torch)'" --attribute rounds=1 --show-stderr

clean:
	rm -rf build .asv results/runs results/report results/asv .pytest_cache .mypy_cache .ruff_cache
