# Every target does what it needs first; all of it lives in .venv and .ingestion of this checkout.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help install demo up down test lint bench pictures clean

help: ## Say what each target does
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(STAMP) ## Make .venv with everything in it

$(STAMP): pyproject.toml constraints.txt
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
		{ echo "Python 3.11 or later is needed, as python3.11 or python3, or by its path: PYTHON=… make"; exit 1; }
	@echo "Installing everything into $(VENV). That takes one to three minutes, once."
	@"$(PYTHON)" -m venv $(VENV)
	@$(BIN)/pip install --quiet --upgrade 'pip>=26.2'
	@PYTHONWARNINGS=ignore $(BIN)/pip install --quiet --no-compile --constraint constraints.txt --editable '.[dev]'
	@$(BIN)/python -m compileall -qq -j 0 $(VENV)/lib || true  # some carry files of other Pythons
	@touch $@
	@echo "Installed."

demo: $(STAMP) ## Run the main job on the embedded stack, with made-up transcripts, and stop it again
	$(BIN)/ingestion demo

up: $(STAMP) ## Start the stack in the background and say when it is ready
	@echo "Starting the stack, half a minute or so. Go on when its addresses stand here."
	@$(BIN)/ingestion up --detach
	@echo "It is ready. Stop it with 'make down'; its logs: $(BIN)/ingestion logs --follow"

down: $(STAMP) ## Stop the stack
	@$(BIN)/ingestion down

lint: $(STAMP) ## Check style, types and import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

test: lint ## Lint, then run the tests, two at a time (a browser test needs Debian's chromium, else it is skipped)
	$(BIN)/pytest -n 2

bench: $(STAMP) ## Measure speed, as ratios against floors and peers (installs those peers first)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[bench]'
	status=0; for script in latency backfill long_runs throughput accept growth disk modules entities documents zones zones_engine import_time; do \
		$(BIN)/python benchmarks/$$script.py || status=1; \
	done; exit $$status

pictures: $(STAMP) ## Take the screenshots of the documentation anew (with Debian's chromium)
	$(BIN)/pytest ingestion_assets_tests/browser ingestion_assets_tests/long_flow
	$(BIN)/python -m ingestion_assets_tests.browser.pictures

clean: ## Remove .venv and all state
	rm -rf $(VENV) .ingestion artifacts .pytest_cache .ruff_cache .hypothesis .import_linter_cache *.egg-info
