# python3 with venv and pip, and make: nothing else is needed. `make demo` and `make test` set up what they use.
PYTHON ?= python3
BIN := $(if $(filter Windows_NT,$(OS)),.venv/Scripts,.venv/bin)
PIP := $(BIN)/python -m pip --disable-pip-version-check -q

.PHONY: help demo test test-full lint chaos clean

help:
	@echo "make demo        the main job on rendered pictures (KEEP=1 leaves the page open)"
	@echo "make test        lint, types, import rules, tests: no TensorFlow, browser, Java or GPU"
	@echo "make test-full   adds what needs TensorFlow, Chromium and Java, or minutes"
	@echo "make chaos       the long chaos test"

.venv/.made:
	$(PYTHON) -m venv .venv
	touch $@

.venv/.run: .venv/.made requirements/run.txt pyproject.toml
	$(PIP) install -r requirements/run.txt
	$(PIP) install --no-deps -e .
	touch $@

.venv/.test: .venv/.run requirements/test.txt
	$(PIP) install -r requirements/test.txt
	touch $@

.venv/.full: .venv/.test requirements/full.txt
	$(PIP) install -r requirements/full.txt
	touch $@

demo: .venv/.run
	$(BIN)/engine demo $(if $(KEEP),--keep)

lint: .venv/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint
	$(BIN)/python -m pytest -n 3 --dist loadfile

test-full: .venv/.full
	$(BIN)/python -m pytest -m full

chaos: .venv/.test
	$(BIN)/python -m pytest -m chaos

clean:
	rm -rf .venv build dist *.egg-info
