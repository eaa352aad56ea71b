# Every target says in one line what it does: `make help`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
T ?= tests
SLOW := schemas/test_reading processors/test_remembered $(addprefix processors/policy/test_,against_reference decide_properties universe)
QUICK := tests/schemas tests/processors tests/identity_tokens $(wildcard tests/test_*.py) $(SLOW:%=--ignore=tests/%.py)

.DEFAULT_GOAL := help
# Tests start hundreds of processes: without compiled modules each of them would compile the project anew.
unexport PYTHONDONTWRITEBYTECODE
.PHONY: help install demo demo-workflow demo-identity demo-adapters demo-verifiers demo-mcp test quick test-containers test-frameworks test-coding-agents lint fmt schemas docs vectors bench soak clean

help: ## Show this list
	@grep -hE '^[a-z][a-z-]*:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 24

install: $(STAMP) ## Make .venv and install the pinned dependencies

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[server,test]'
	@touch $(STAMP)

demo: $(STAMP) ## Run the main job on real input, with the embedded broker; exit 0 only if all of it held
	$(BIN)/python -m examples.demo

demo-workflow: $(STAMP) ## Play an invoice with people in it, in the same way: you approve, and shortcuts are refused
	$(BIN)/python -m examples.demo.workflow

demo-identity: $(STAMP) ## Let people log in at a real provider (Keycloak where Java is, else nanoidp), and an agent act for them
	$(BIN)/python -m examples.demo.identity

demo-adapters: $(STAMP) ## Run the original's OpenAI adapter from PyPI, unchanged, over this log, with a local model server
	$(BIN)/python -m examples.demo.adapters

demo-verifiers: $(STAMP) ## Try one attack for each verifier of calls and results, each beside an innocent call that passes
	$(BIN)/python -m examples.demo.verifiers

demo-mcp: $(STAMP) ## Put a reference server of MCP behind the gateway, for an agent that obeys orders in the files that it reads
	$(BIN)/python -m examples.demo.mcp

test: $(STAMP) ## Lint, then run every test that needs no docker, in three processes (T=path runs a part, JOBS=n)
	$(MAKE) --no-print-directory lint
	$(BIN)/pytest -n $(or $(JOBS),3) --dist loadfile $(T)

quick: $(STAMP) ## Lint, and the tests of schemas, core and manners: under two minutes on two cores, no broker
	$(MAKE) --no-print-directory lint
	$(BIN)/pytest -n $(or $(JOBS),2) --dist loadfile $(QUICK)

test-containers: $(STAMP) ## Show the image, docker-compose.yml and the tests' broker in docker; root on Debian needs no engine
	PYTHON=$(abspath $(BIN)/python) tests/containers/run.sh

test-frameworks: $(STAMP) ## Run the adapters of agent frameworks, each in an environment of its own (NAMES="langchain …")
	$(BIN)/python -m tests.frameworks.run $(NAMES)

test-coding-agents: $(STAMP) ## Run the real Claude Code and Codex from npm behind their hooks, against a local model (Node.js 20)
	MACAW_TEST_CODING_AGENTS=1 $(BIN)/pytest tests/coding_agents

lint: $(STAMP) ## Check style, types, import rules, published schemas and generated pages
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m schemas.publish --check
	$(BIN)/python docs/tables.py --check
	$(BIN)/python -m macaw.policies.schema --check

fmt: $(STAMP) ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

schemas: $(STAMP) ## Publish changed schemas under new ids
	$(BIN)/python -m schemas.publish

docs: $(STAMP) ## Write the documentation's tables from the code
	$(BIN)/python docs/tables.py
	$(BIN)/python -m macaw.policies.schema

vectors: $(STAMP) ## Write the wire format's test vectors again; they must not change
	$(BIN)/python -m tests.vectors.generate
	git diff --exit-code docs/vectors

bench: $(STAMP) ## Measure against this CPU's signature check and a bare loop (BROKER=embedded|kafka)
	$(BIN)/python -m bench --broker $(or $(BROKER),embedded)

soak: $(STAMP) ## Kill, stop and starve real processes on Apache Kafka, round by seeded round (ROUNDS=200 SEED=1 KINDS=a,b)
	$(BIN)/python -m tests.streams.soak --rounds $(or $(ROUNDS),200) --seed $(or $(SEED),1) $(if $(KINDS),--kinds $(KINDS))

clean: ## Remove what was installed and cached
	rm -rf $(VENV) .frameworks .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
