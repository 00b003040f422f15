# make demo and make test do all the set-up themselves, in .venv.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
JOBS ?= 4
SOURCES := engine models export streams riskstream tests benchmarks

.PHONY: help demo test test-slow check lint format types imports bench chaos fuzz guarantees soak handbook credit market evaluate wheel clean

help:  ## show the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: $(VENV)/.serving  ## watch card payments being scored, on this machine
	$(BIN)/riskstream demo

test: $(VENV)/.development  ## run the tests; those on Apache Kafka need KAFKA_HOME, KAFKA_BOOTSTRAP or Docker
	$(BIN)/python -m pytest -m "not slow" -n $(JOBS) --dist loadfile --no-loadscope-reorder

test-slow: $(VENV)/.development  ## run the tests that take minutes
	$(BIN)/python -m pytest -m slow -n $(JOBS) --dist loadfile --no-loadscope-reorder

check: lint types imports test  ## everything that CI checks

lint: $(VENV)/.development  ## check format and style
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)

format: $(VENV)/.development  ## format the code
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/ruff check --fix $(SOURCES)

types: $(VENV)/.development  ## check the types
	$(BIN)/mypy

imports: $(VENV)/.development  ## check that imports point one way
	$(BIN)/lint-imports

BENCH ?=

bench: $(VENV)/.development  ## measure riskstream beside its peers; BENCH="--quick" for a short run
	$(PIP) install --quiet --editable '.[bench]' --constraint constraints.txt
	$(BIN)/python -m benchmarks --out runs/benchmark $(BENCH)

SCENARIO ?=
SEED ?=
CHAOS ?=

chaos: $(VENV)/.development  ## break things under a stream; SCENARIO="kills" SEED=7 runs one again
	$(BIN)/python -m tests.chaos $(SCENARIO) $(if $(SEED),--seed $(SEED)) $(CHAOS)

FUZZ_SECONDS ?= 600

fuzz: $(VENV)/.development  ## fuzz the decoders and the bundle loader, ten minutes each
	$(PIP) install --quiet --editable '.[fuzz]' --constraint constraints.txt
	for target in events labels bundles; do \
		$(BIN)/python -m tests.fuzz $$target --seconds $(FUZZ_SECONDS) --folder runs/fuzz || exit 1; \
	done

guarantees: $(VENV)/.development  ## measure what each guarantee costs
	$(PIP) install --quiet --editable '.[bench]' --constraint constraints.txt
	$(BIN)/python -m benchmarks.guarantees

SOAK ?=

soak: $(VENV)/.development  ## a worker for half an hour at half load; SOAK="--minutes 5" for less
	$(PIP) install --quiet --editable '.[bench]' --constraint constraints.txt
	$(BIN)/python -m benchmarks.soak $(SOAK)

HANDBOOK ?= handbook-transactions.parquet

handbook: $(VENV)/.development  ## compare the stream with the core on the Handbook's transactions
	$(BIN)/python benchmarks/handbook_stream.py --data $(HANDBOOK)
	$(BIN)/python benchmarks/handbook_stream.py --data $(HANDBOOK) --backfill

evaluate: $(VENV)/.development  ## judge every family on the Handbook's test folds; goes on where it was
	$(BIN)/python -m benchmarks.evaluate --data $(HANDBOOK)

DATA ?= taiwan-credit-default.parquet

credit: $(VENV)/.development  ## judge the credit pack on five folds, beside scorecard and trees
	$(BIN)/python benchmarks/credit_folds.py --data $(DATA) --protected

market: $(VENV)/.development  ## judge the market pack on 2015 to 2022, beside GARCH
	$(BIN)/python benchmarks/market_test.py --data $(DATA)

wheel: $(VENV)/.development  ## build the wheel into dist/
	$(BIN)/python -m build --wheel

clean:  ## remove what the other targets made
	rm -rf $(VENV) build dist *.egg-info riskstream-demo .mypy_cache .pytest_cache .ruff_cache

$(VENV)/.venv:
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.serving: $(VENV)/.venv pyproject.toml
	$(PIP) install --quiet --editable .
	@touch $@

$(VENV)/.development: $(VENV)/.venv pyproject.toml constraints.txt
	$(PIP) install --quiet --editable '.[train,dev]' --constraint constraints.txt
	@touch $@ $(VENV)/.serving
