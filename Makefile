# Everything a newcomer needs: `make demo` shows it working, `make test` proves it, `make check` keeps it tidy.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
SHELL := /bin/bash
.DEFAULT_GOAL := help
# Where this is set, each start of a command compiles all of it anew: a fifth of the time that the tests take.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help setup demo test chaos soak bench check compose-check format lock ranks clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-13s %s\n", $$1, $$2}'

# The stamp's name is the hash of what the environment is made from: another pin, another environment.
STAMP := $(VENV)/.made-from-$(shell cat requirements.txt pyproject.toml 2>/dev/null | cksum | tr ' ' '-')

setup: $(STAMP) ## Make or refresh .venv with the batchmill command in it

$(STAMP):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "batchmill needs Python 3.11 or newer, this is " + sys.version.split()[0])'
	@echo "setting up $(VENV) (once, about a minute)" >&2
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV)
	@# What is imported is compiled then; most of it never is, and compiling it all takes half a minute.
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --require-hashes -r requirements.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: setup ## Answer examples/questions.jsonl through the sandbox: no key, no cost
	@BIN=$(BIN) bash examples/demo.sh

test: setup ## Run the tests
	@$(BIN)/python -m pytest -n 4 --dist worksteal

SEEDS ?= 3
SOAK_LINES ?= 20000

chaos: setup ## Kill, stop, cut, fill and freeze all there is; break the product and be found out (twenty to thirty minutes; SEEDS=n)
	@SEEDS=$(SEEDS) SOAK_LINES=$(SOAK_LINES) CHAOS_LINES=1000 CHAOS_BATCHES=200 $(BIN)/python -m pytest tests/chaos -m "large or not large" -vv -n 4 --dist worksteal --timeout=600 $(CHAOS)

soak: setup ## The same with twenty seeds, and a batch of a million lines that is killed on its way (very long)
	@$(MAKE) chaos SEEDS=20 SOAK_LINES=1000000

.PHONY: bench-peers peers-lock
FIGURES := --docs docs --readme README.md

bench: setup ## Measure speed and size, and write docs/benchmarks.md (half an hour)
	@$(BIN)/python -m benchmarks $(FIGURES) $(BENCH)

bench-peers: setup ## Measure what others do beside it, each in an environment of its own (eighty to a hundred minutes)
	@$(BIN)/python -m benchmarks --peers $(FIGURES) $(BENCH)

check: setup compose-check ## Lint, formatting, types, import floors, the Compose file
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

compose-check: setup ## Check docker-compose.yml against the Compose schema
	@$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml

format: setup ## Format the code
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

# What the image has beside the dependencies proper; google-generativeai would double its size.
IMAGE_EXTRAS := flower gemini otel s3 training

lock: ## Pin every dependency anew (needs uv)
	uv lock --quiet
	uv export --format requirements-txt --no-header --no-emit-project --all-groups --output-file requirements.txt --quiet
	sed -i 's/^google-api-core==/google-api-core[grpc]==/' requirements.txt # pip wants the extra where hashes are asked for
	uv export --format requirements-txt --no-header --no-emit-project --no-default-groups --group build \
	  $(addprefix --extra ,$(IMAGE_EXTRAS)) --output-file deploy/requirements.txt --quiet
	rm -f uv.lock

ranks: setup ## Rebuild the tokenizers' ranks and check their hashes (needs npm)
	@$(BIN)/python -m batchmill.tokens.rebuild

PEERS := benchmarks/peers/requirements

peers-lock: ## Pin anew what the benchmark's peers need (needs uv)
	for wanted in $(PEERS)/*.in; do uv pip compile --python-version 3.11 --generate-hashes --no-header --no-annotate \
	  --quiet --upgrade $$wanted --output-file $${wanted%.in}.txt || exit 1; done

clean: ## Remove the environments and caches
	rm -rf $(VENV) .peers .mypy_cache .ruff_cache .pytest_cache .hypothesis
