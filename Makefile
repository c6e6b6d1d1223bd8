SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
GO ?= go
PY := .venv/bin/python
HELM_VERSION := v4.3.1
SIM_SEEDS ?= 4000
STAGES := check sim system chaos operations
CHAOS := tests/system/test_faults.py tests/system/test_seeds.py tests/system/test_identity_seeds.py

.PHONY: help check sim system chaos operations test test-long stack tools demo bench schemas requirements clean

help: ## list the targets
	@grep -hE '^[.a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-14s %s\n", $$1, $$2}'

.venv: .venv/installed ## what the project runs and is tested with, by hash

.venv/installed: requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; name one: make PYTHON=python3.12 .venv")'
	test -x $(PY) || $(PYTHON) -m venv .venv
	$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r requirements/dev.txt
	$(PY) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

check: .venv ## format, lint, types, unit and property tests
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m mypy
	$(PY) -m pytest -n 2 tests/unit

sim: .venv ## the engine against the seeded simulator (SIM_SEEDS=4000)
	$(PY) -m tests.sim --seeds $(SIM_SEEDS)
	$(PY) -m pytest -n 2 tests/sim --deselect tests/sim/test_simulator.py::test_no_law_is_broken --deselect tests/sim/test_named.py::test_no_law_is_broken

system: .venv stack ## the program against an embedded broker, and a real Kafka, Debezium and PostgreSQL
	$(PY) -m pytest -n 3 tests/integration
	$(PY) -m pytest tests/system $(addprefix --ignore=,$(CHAOS))

chaos: .venv stack ## the same while processes are killed
	$(PY) -m pytest $(CHAOS)

operations: .venv tools ## chart, image, package
	$(PY) -m pytest tests/operations

test: ## every stage, each with its time
	@started=$$SECONDS; summary=; failed=; \
	for stage in $(STAGES); do \
	  printf '\n=== %s\n' "$$stage"; from=$$SECONDS; \
	  if $(MAKE) "$$stage"; then result=passed; else result=FAILED; failed=1; fi; \
	  summary+=$$(printf '%-12s %-7s %5d s' "$$stage" "$$result" $$((SECONDS - from)))$$'\n'; \
	done; \
	printf '\n%s%-12s %-7s %5d s\n' "$$summary" all "$${failed:+FAILED}" $$((SECONDS - started)); \
	test -z "$$failed"

test-long: ## five times the simulator's seeds, and every stage
	$(MAKE) test SIM_SEEDS=$$((5 * $(SIM_SEEDS)))

stack: .venv ## install what the system tests run against
	$(PY) tests/stack/install.py

tools: .cache/bin/helm-$(HELM_VERSION) ## install what the operations tests run

.cache/bin/helm-$(HELM_VERSION):
	@command -v $(GO) > /dev/null || { echo "Go is needed to build Helm: install Go 1.26 or newer, or name one: make GO=/path/to/go tools" >&2; exit 69; }
	mkdir -p .cache/bin
	GOBIN=$(CURDIR)/.cache/bin $(GO) install helm.sh/helm/v4/cmd/helm@$(HELM_VERSION)
	mv .cache/bin/helm $@

demo: .venv ## see it work on this machine
	$(PY) -m stream demo

bench: .venv stack ## measure; needs a quiet machine
	$(PY) bench/sandbox_load.py
	$(PY) -m bench.walk

schemas: .venv ## write schemas/ and the chart's schema from the code
	$(PY) -m stream settings --schema > schemas/settings.schema.json
	$(PY) tests/operations/values_schema.py > helm/values.schema.json

requirements: .venv ## pin what pyproject.toml asks for, by hash
	@compile() { .venv/bin/uv pip compile --quiet --generate-hashes --no-header --no-emit-index-url --universal --python-version 3.11 "$$@"; }; \
	compile pyproject.toml -o requirements/run.txt; \
	compile pyproject.toml --group dev -c requirements/run.txt -o requirements/dev.txt

clean: ## remove caches and builds; .venv and .cache stay
	rm -rf dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find stream tests bench -name __pycache__ -prune -exec rm -rf {} +
