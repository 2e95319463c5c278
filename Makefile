# People and CI run the same targets. `make setup` is implied by all of them.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: setup demo test check docs dist bench proto clean

setup: $(STAMP)

$(STAMP): pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "perigrid needs $(PYTHON); install Python 3.11 or set PYTHON=..."; exit 3; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev,eo]'
	@touch $@

demo: setup
	$(BIN)/perigrid demo

# Real processes have both cores to themselves; what needs none is run side by side.
test: setup
	$(BIN)/python -m pytest -m "not live and not browser" -n 2 --dist loadfile
	$(BIN)/python -m pytest -m "live or browser"

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tools/proto.py --check
	$(BIN)/python tools/module_size.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "site/index.html"

dist: setup
	$(BIN)/python -m build

bench: setup
	$(BIN)/perigrid bench links
	$(BIN)/perigrid bench efficiency
	$(BIN)/perigrid bench sky

proto: setup
	$(BIN)/python tools/proto.py

clean:
	rm -rf $(VENV) site dist .mypy_cache .ruff_cache .import_linter_cache
