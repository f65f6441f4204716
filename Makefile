# Everything installs into .venv; nothing else is needed than Python 3.11 or newer, make and a package registry.

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
EXPORTED := exported/pairs
PYTEST := $(BIN)/pytest --doctest-modules nasmod tests

.PHONY: demo test test-all check

# Search for networks that tell the sum of two digits, show what was found, export the best. Again: shows it, and exports anew.
demo: $(INSTALLED)
	$(BIN)/nasmod start pairs
	$(BIN)/nasmod show pairs
	@rm -f $(addprefix $(EXPORTED)/,model.py model.pt2 weights.safetensors topology.json README.md)
	$(BIN)/nasmod export pairs -o $(EXPORTED)

# The quick tests, and the examples in docstrings.
test: $(INSTALLED)
	$(PYTEST) -m "not slow"

# All tests, real runs of minutes included.
test-all: $(INSTALLED)
	$(PYTEST)

# What must hold before a change lands.
check: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(MAKE) --no-print-directory test

$(INSTALLED): pyproject.toml constraints.txt
	@echo "Installing nasmod and what it needs into .venv: a few minutes, once."
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,postgresql]' torch
	@touch $@
