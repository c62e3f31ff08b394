# Everything runs from .venv, which is made on first use; nothing else on the machine is touched.
VENV ?= .venv
PYTHON ?= python3
BIN = $(VENV)/bin

.PHONY: run test check fix bench fidelity
.PRECIOUS: $(VENV)/installed-%

run: $(VENV)/installed-examples  ## httpbin and its FastAPI successor behind one URL
	$(BIN)/gateway serve --legacy httpbin:app --target examples.httpbin.app:app

test: $(VENV)/installed-test
	$(BIN)/python -m pytest

check: $(VENV)/installed-check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fix: $(VENV)/installed-check
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/installed-test
	$(BIN)/python -m loadtests.overhead
	$(BIN)/python -m loadtests.switching

fidelity: $(VENV)/installed-test  ## the generated comparison with gunicorn, at length
	FIDELITY_REQUESTS=20000 $(BIN)/python -m pytest tests/fidelity/test_generated.py

$(VENV)/installed-%: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$*]'
	touch $@
