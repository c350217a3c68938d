# `make run` runs the main job, `make test` passes the tests; both do all set-up.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# Peers for tests that come by npm; without it those tests say what they miss.
PEERS := tests/support/npm/node_modules

.PHONY: run test lint bench docs clean

$(VENV)/installed: setup.cfg pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip setuptools wheel
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	touch $@

$(PEERS): tests/support/npm/package.json
	if command -v npm >/dev/null; then \
	    npm install --prefix tests/support/npm --ignore-scripts --no-audit --no-fund --silent && touch $@ || \
	    echo "npm cannot fetch the peers of some tests; those are skipped and say so."; fi

run: $(VENV)/installed
	$(BIN)/python -m kumotwist.demo $(if $(DURATION),--duration $(DURATION))

test: lint $(PEERS)
	$(BIN)/python -m pytest $(PYTEST_ARGS)

lint: $(VENV)/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/installed
	$(BIN)/python tests/bench/relay.py
	$(BIN)/python tests/bench/smpp.py
	$(BIN)/python tests/bench/smpp.py --receipts
	$(BIN)/python tests/bench/apns.py
	$(BIN)/python tests/bench/routes.py
	$(BIN)/python tests/bench/budgets.py

docs: $(VENV)/installed
	$(BIN)/python -m kumotwist.config.describe docs/reference/options.md
	$(BIN)/python -m kumotwist.egress.describe docs/channels
	$(BIN)/python -m kumotwist.lua.describe docs/reference
	$(BIN)/python -m kumotwist.admin.schema docs/reference/explain.schema.json

clean:
	rm -rf $(VENV) build dist *.egg-info
