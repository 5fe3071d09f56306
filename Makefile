# Everything a fresh clone needs: Python 3.11 or newer, and make. `make help` lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

UV_VERSION := 0.13.8
PYTHON ?= python3
BIN := .venv/bin
# uv from PATH if it is there, else one of our own inside .venv.
UV := $(or $(shell command -v uv 2>/dev/null),$(BIN)/uv)
export UV_PYTHON_DOWNLOADS := never
# Hundreds of Python processes start in the tests. Without compiled files each compiles all that it
# imports, for seconds; some environments forbid to keep them.
unexport PYTHONDONTWRITEBYTECODE

# Runs a line, says how long it took, and keeps its exit code.
timed = @printf '\n==> %s\n' '$(1)'; start=$$(date +%s%N); code=0; ( $(1) ) || code=$$?; \
	printf '    %d ms\n' $$(( ($$(date +%s%N) - start) / 1000000 )); exit $$code

# The longest first.
CHECKS := check-types check-supply check-migrations check-format check-lint check-imports \
	check-dependencies chromium

.PHONY: help setup dev test check tests format migration bench chaos chaos-report sbom $(CHECKS)

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(BIN)/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo 'Sojourn needs Python 3.11 or newer; say which with PYTHON=python3.12' >&2; exit 1; }
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

setup: $(if $(filter $(BIN)/uv,$(UV)),$(BIN)/uv) ## Install everything into .venv
	@$(UV) sync --locked --quiet

dev: setup ## Start PostgreSQL, Temporal, worker, API and mailbox here (ARGS='--demo --port 9000')
	@exec $(BIN)/sojourn dev $(ARGS)

test: check tests ## Run every check and every test

# Two at a time; what each prints stays together.
check: $(if $(filter $(BIN)/uv,$(UV)),$(BIN)/uv)
	$(call timed,$(UV) sync --locked --quiet)
	@$(MAKE) --jobs=2 --output-sync=target $(CHECKS)

check-types:
	$(call timed,$(BIN)/basedpyright)
check-supply:
	$(call timed,$(BIN)/python -m dev.supply)
check-migrations:
	$(call timed,$(BIN)/python -m dev.migrations)
check-format:
	$(call timed,$(BIN)/ruff format --check .)
check-lint:
	$(call timed,$(BIN)/ruff check .)
check-imports:
	$(call timed,$(BIN)/lint-imports --no-cache)
check-dependencies:
	$(call timed,$(BIN)/deptry .)

# Most of the time is waiting: for timers, restarts, servers. So three processes take files in turn,
# each with one server of each kind. They must collect the same tests, hence the fixed seed.
tests: ## Run the tests alone, after `make setup` (ARGS='-k journey')
	@PYTHONHASHSEED=0 $(BIN)/pytest --numprocesses=3 --dist=loadfile --no-loadscope-reorder --durations=10 $(ARGS)

format: setup ## Format the code and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

migration: setup ## Write a migration for what changed in db/ (NAME='add lead source')
	$(BIN)/python -m dev.migrations $(NAME)

bench: setup ## Measure Sojourn beside a hand-written Temporal workflow
	$(BIN)/python -m benchmarks $(ARGS)

chaos: setup ## Kill workers and servers for minutes (SOJOURN_CHAOS_SEED=7 for other moments)
	SOJOURN_CHAOS=1 $(BIN)/pytest -o log_cli=true --log-cli-level=WARNING $(ARGS)

sbom: setup ## Write what an installation holds to sbom.json (CycloneDX)
	$(UV) export --quiet --locked --no-dev --all-extras --format cyclonedx1.5 --preview-features sbom-export --output-file sbom.json

chaos-report: setup ## Write what the chaos tests measured into docs/reliability.md
	$(BIN)/python -m dev.chaos_report

# Browser tests need a Chromium: on a Debian machine where we are root it is installed.
chromium:
	@if [ -z "$$(ls tests/browser/test_*.py 2>/dev/null)" ] || command -v chromium >/dev/null; then \
		exit 0; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null; \
	else \
		echo 'no chromium: install it to run the browser tests' >&2; exit 1; \
	fi
