# Two commands: `make up` gives a verified stack, `make test` runs the checks and most scenarios. The work is done in tools/.
TOPOLOGY ?= one_host
# An interpreter of one's own for .venv, the best one found without it.
PYTHON ?=

tools := $(or $(PYTHON),python3) tools/bootstrap.py $(if $(PYTHON),--python $(PYTHON))
testbed := $(tools) && .venv/bin/python -m tools.testbed

.DEFAULT_GOAL := help
# The word `docs` is also a folder.
.PHONY: help tools up down verify diagnose check test bench docs pins mlflow

help: ## this list
	@sed -nE 's/^([a-z]+): ## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

tools: ## install the pinned tools into .venv and the collections into collections
	@$(tools)

up: ## a verified stack on throw-away hosts; TOPOLOGY=one_host, embedded, three_hosts or containers; the last line is its address
	@$(testbed) up --topology $(TOPOLOGY)

down: ## remove what `up` made; PURGE=1 removes images, downloads and tools too
	@$(testbed) down $(if $(PURGE),--purge)

verify: ## prove the running demo once more
	@$(testbed) verify

diagnose: ## say why a server cannot be used: the running demo's, or those of INVENTORY=...
	@$(testbed) diagnose $(if $(INVENTORY),--inventory $(INVENTORY))

check: ## lint, types, unit tests, locks and build: no host needed
	@$(testbed) check

test: ## the checks, and the scenarios that need no name; SCENARIO="embedded three_hosts" runs these alone, SYSTEM=ubuntu24.04 on hosts with this system
	@$(testbed) test $(SCENARIO) $(if $(SYSTEM),--system $(SYSTEM))

docs: ## build the documentation in .cache/docs/html; a warning is an error
	@$(tools) && .venv/bin/python -m tools.docs build

bench: ## measure in turns what is set up and what could replace it; ROWS="requests users", ROUNDS=5, DOCS=1 for the documentation
	@$(tools) && .venv/bin/python -m tools.bench run $(ROWS) $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(ROLE),--role $(ROLE)) $(if $(DOCS),--docs)

pins: ## raise the pins to their newest versions and write their locks; NAMES="ruff uv" raises these alone
	@$(tools) && .venv/bin/python -m tools.pins raise $(NAMES)

mlflow: ## take up a release of MLflow: VERSION=3.17.2 gets a lock, and is compared with the release before
	@$(tools) && .venv/bin/python -m tools.pins mlflow $(VERSION)
