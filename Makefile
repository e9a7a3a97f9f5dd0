# Every target makes and uses .venv in the checkout. `make help` lists them.
.DEFAULT_GOAL := help
SHELL := bash
.SHELLFLAGS := -euo pipefail -c

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.made-from-lock
LOCKS := operator runner dev-services
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
	--no-emit-index-url --no-emit-find-links pyproject.toml

.PHONY: help quickstart test test-full lint format bench lock sync clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

lock: $(STAMP) ## renew the lock files from pyproject.toml
	$(COMPILE) --all-extras --output-file locks/dev.txt
	for extra in $(LOCKS); do $(COMPILE) --extra $$extra --constraint locks/dev.txt --output-file locks/$$extra.txt; done
