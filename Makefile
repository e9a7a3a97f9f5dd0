# Every target makes and uses .venv in the checkout. `make help` lists them.
.DEFAULT_GOAL := help
SHELL := bash
.SHELLFLAGS := -euo pipefail -c

BIN := .venv/bin
VENV := .venv/.made
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
	--no-emit-index-url --no-emit-find-links
SOURCES := core operator bridge runner cli local charts tests
# Pass more to pytest: make test ARGS='-k billing'; with ARGS='-n 0' one process runs all
ARGS ?=
# Two processes: one has the cluster and whatever needs it, the other the rest.
PARALLEL := -n 2
# make sim SEEDS=500, or make sim SEED=7 for one seed with its trace; sim-schedules alike
SEEDS ?= 100
SEED ?=

.PHONY: help quickstart test test-full sim sim-schedules lint format bench lock sync clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

$(VENV): locks/bootstrap.txt locks/dev.txt pyproject.toml local/make-venv
	@local/make-venv
	@touch $@

quickstart: $(VENV) ## a cluster, the operator, a billing export in, cost rows out
	@$(BIN)/pipelines quickstart

test: lint ## the checks and the tests of every kind: a smoke of each, on a real cluster too
	@$(BIN)/python -m pytest $(PARALLEL) -m 'not full' $(ARGS)

test-full: lint ## all tests
	@$(BIN)/python -m pytest $(PARALLEL) $(ARGS)

sim: $(VENV) ## simulate the world around the operator: SEEDS=500, or SEED=7 with its trace
	@cd tests && PYTHONPATH=. ../$(BIN)/python -m sim $(if $(SEED),--seed $(SEED),--seeds $(SEEDS))

sim-schedules: $(VENV) ## simulate days of schedules: SEEDS=50, or SEED=7 with its trace
	@cd tests && PYTHONPATH=. ../$(BIN)/python -m sim_schedules $(if $(SEED),--seed $(SEED),--seeds $(SEEDS))

lint: $(VENV) ## style, types, imports, configs
	@$(BIN)/ruff check --quiet $(SOURCES)
	@$(BIN)/ruff format --quiet --check $(SOURCES)
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/pipelines validate configs
	@$(BIN)/python charts/sync.py --check
	@$(BIN)/python -m pipeline_bridge.openapi --check

format: $(VENV) ## put the sources into their form
	@$(BIN)/ruff check --quiet --fix $(SOURCES)
	@$(BIN)/ruff format --quiet $(SOURCES)

bench: $(VENV) ## figures, each beside its baseline
	@$(BIN)/python -m pytest -p no:cacheprovider --quiet --capture=no tests/bench/bench_*.py $(ARGS)

lock: $(VENV) ## renew the lock files from pyproject.toml
	$(COMPILE) pyproject.toml --all-extras --output-file locks/dev.txt
	$(COMPILE) pyproject.toml --extra operator --extra bridge --constraint locks/dev.txt --output-file locks/operator.txt
	for extra in runner dev-services; do \
	  $(COMPILE) pyproject.toml --extra $$extra --constraint locks/dev.txt --output-file locks/$$extra.txt; \
	done
	grep -hE '^uv==' locks/dev.txt | tr -d '\\ ' | $(COMPILE) --no-annotate - --output-file locks/bootstrap.txt
	$(BIN)/python -c 'from pipeline_local.toolchain import WHEEL; print(WHEEL)' | $(COMPILE) --no-annotate - --output-file locks/toolchain.txt
	printf 'dlt[bigquery]\ngoogle-cloud-bigquery-storage\npyarrow\n' | $(COMPILE) --no-annotate - --output-file locks/bench-dlt.txt

sync: $(VENV) ## renew what is made from other files: the chart's copies and table, the API's description
	@$(BIN)/python charts/sync.py
	@$(BIN)/python -m pipeline_bridge.openapi

clean: ## take the local cluster down and remove what the targets made
	@if [ -x $(BIN)/pipelines ]; then $(BIN)/pipelines local down; fi
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
	find $(SOURCES) -name __pycache__ -type d -prune -exec rm -rf {} +
