# Everything installs into .venv; nothing else is needed than Python 3.11 or newer, make and a package registry.

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
EXPORTED := exported/pairs
PYTEST := $(BIN)/pytest --doctest-modules nasmod tests
# Two at a time: more would take workers' cores from the studies that the tests run.
SPREAD := -n 2 --dist loadgroup

.PHONY: demo test test-all soak mutants docs lint check

# Search for networks that tell the sum of two digits, show what was found, export the best. Again: shows it, and exports anew.
demo: $(INSTALLED)
	$(BIN)/nasmod start pairs
	$(BIN)/nasmod show pairs
	@rm -f $(addprefix $(EXPORTED)/,model.py model.pt2 weights.safetensors topology.json interface.json README.md)
	$(BIN)/nasmod export pairs -o $(EXPORTED)

# The quick tests, and the examples in docstrings.
test: $(INSTALLED)
	$(PYTEST) $(SPREAD) -m "not slow and not soak"

# All tests, real runs of minutes included.
test-all: $(INSTALLED)
	$(PYTEST) $(SPREAD) -m "not soak"

# What only many repetitions find: more random orders of events, and 200 faults of a small lab. About an hour.
soak: $(INSTALLED)
	$(PYTEST) $(SPREAD) -m soak
	$(BIN)/python benchmarks/faults.py --faults 200

# Which changes to the code of a module its quick tests would not notice: some minutes.
OF := nasmod.measures.front.*
BY := tests/measures/test_front.py
mutants: $(INSTALLED)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt mutmut
	-PYTEST_ADDOPTS="$(BY)" $(BIN)/mutmut run --max-children 2 "$(OF)"
	$(BIN)/mutmut results | grep -v "not checked"

# The pages of docs/ as a site in site/; what it warns of is an error.
docs: $(INSTALLED)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# What must hold before a change lands.
check: lint test

lint: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

$(INSTALLED): pyproject.toml constraints.txt
	@echo "Installing nasmod and what it needs into .venv: a few minutes, once."
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,postgresql]' torch
	@touch $@
