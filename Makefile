# `make` alone prints the targets.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/installed

.DEFAULT_GOAL := help
.PHONY: help install demo ablation test test-all test-floor test-newest check format table clean

help: ## Print the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1|\2/' | column -t -s '|'

install: $(STAMP) ## Make .venv with the tested versions; does nothing the second time

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	touch $(STAMP)

demo: install ## Write a corpus, train on it, evaluate: a table and pictures in under 3 minutes
	$(BIN)/python -m lightning_aqa fit --config experiments/quickstart.yaml

SWEEP ?= experiments/ablations/qamro.yaml

ablation: install ## Run an ablation, SWEEP=experiments/ablations/qamro.yaml: the table, the report; goes on where it was stopped
	$(BIN)/python -m lightning_aqa sweep $(SWEEP) --report

test: install ## Run all tests that need no network, no GPU and no weights
	$(BIN)/python -m pytest -n auto --dist worksteal

test-all: install ## Run the slow cases too, which repeat the quick ones on other parts
	$(BIN)/python -m pytest -n auto --dist worksteal -m ""

# The rooms that are quick to test: no subprocesses, no runs of many epochs.
QUICK := $(addprefix tests/,data encoders heads metrics objectives results test_environment.py test_module.py)
NEWEST_PYTHON ?= python3.13
# What other packages say of each other's old names is no failure of this one.
OLD_NAMES := $(foreach kind,DeprecationWarning PendingDeprecationWarning FutureWarning,-W default::$(kind))

test-floor: ## Run the quick half of the tests with the lowest versions that pyproject.toml allows, in .venv-floor
	$(call test_with,$(PYTHON),floor,lowest-direct)

test-newest: ## The same with the newest versions and NEWEST_PYTHON=python3.13, in .venv-newest
	$(call test_with,$(NEWEST_PYTHON),newest,highest)

define test_with
	test -x .venv-$(2)/bin/python || $(1) -m venv .venv-$(2)
	.venv-$(2)/bin/python -m pip install --quiet --upgrade pip uv
	.venv-$(2)/bin/uv pip install --quiet --python .venv-$(2)/bin/python --upgrade --resolution $(3) -e '.[dev]'
	.venv-$(2)/bin/python -m pytest -n auto --dist worksteal $(OLD_NAMES) $(QUICK)
endef

check: install ## Run what pre-commit and CI run: ruff and mypy
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: install ## Format the code and mend what ruff can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

table: install ## Bring the README's table of encoders up to date
	$(BIN)/python benchmarks/encoder_table.py README.md

clean: ## Remove what runs and tests leave behind, .venv aside
	rm -rf runs .cache .pytest_cache .mypy_cache .ruff_cache
